"""What lines brought over time, as the rows that the console's sums are made of."""

import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.pages import AccountFilter, ExternalUserFilter
from api.clock import database_now
from batches.admin.of_batch import OfBatch
from batches.models import BatchMinute, OwnerHour, TrafficSlice
from batches.models.traffic import LATENCIES
from batches.traffic import percentile
from console.pages import Look, Tabs
from console.parts import EMPTY
from console.text import duration, number

SPANS = {"day": datetime.timedelta(hours=24), "month": datetime.timedelta(days=30)}


class SinceTabs(Tabs):
    """Rows of the last hours or days. A subclass names the `field` that has their time."""

    title = "time"
    parameter_name = "since"
    field = ""

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("day", "Last 24 hours"), ("month", "Last 30 days")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        span = SPANS.get(self.value() or "")
        return rows.filter(**{f"{self.field}__gte": database_now() - span}) if span else None


class SliceTabs(SinceTabs):
    field = "start"


class HourTabs(SinceTabs):
    field = "hour"


class UserFilter(ExternalUserFilter):
    moment = "hour"


@admin.display(description="tokens in")
def tokens_in(row: Any) -> str:
    return number(row.input_tokens)


@admin.display(description="tokens out")
def tokens_out(row: Any) -> str:
    return number(row.output_tokens)


@admin.display(description="p50")
def median(row: Any) -> str:
    return _latency(row, 0.5)


@admin.display(description="p95")
def slow(row: Any) -> str:
    return _latency(row, 0.95)


def _latency(row: Any, share: float) -> str:
    found = percentile([getattr(row, name) for name in LATENCIES], share)
    return EMPTY if found is None else duration(found / 1000)


# What the rows count.
BROUGHT: list[Any] = ["completed", "failed", "calls", tokens_in, tokens_out, median, slow]


@admin.register(BatchMinute)
class BatchMinuteAdmin(OfBatch):
    list_display = ["batch", "minute", *BROUGHT]
    list_select_related = ["batch"]


@admin.register(TrafficSlice)
class TrafficSliceAdmin(Look):
    list_display = ["start", "upstream", "model", *BROUGHT]
    list_select_related = ["upstream"]
    list_filter = [SliceTabs, "upstream"]
    ordering = ["-start", "-upstream", "-model"]  # as their unique key has it


@admin.register(OwnerHour)
class OwnerHourAdmin(Look):
    list_display = ["hour", "account", "external_user", *BROUGHT]
    list_select_related = ["account", "external_user__account"]
    list_filter = [HourTabs, AccountFilter, UserFilter]
    ordering = ["-hour", "-owner"]
