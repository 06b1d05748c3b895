"""What the list of batches can be narrowed by. Every choice is fixed or typed, and answered by an index."""

import datetime
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from batches.models import Batch, Status
from console.pages import MOST_COUNTED, Tabs, Typed

ENDS = (Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED)
DAY = datetime.timedelta(days=1)


class StateTabs(Tabs):
    title = "state"
    parameter_name = "state"
    KINDS = (("active", "Active"), ("paused", "Paused"), ("failures", "With failures"))

    def __init__(self, request: HttpRequest, params: Any, model: Any, page: Any) -> None:
        super().__init__(request, params, model, page)
        self.is_narrowed = bool(set(request.GET) - {self.parameter_name, "p", "o"})

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [*self.KINDS, *((one.value, one.label.capitalize()) for one in ENDS)]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        value = self.value()
        if value == "active":
            return rows.active()  # type: ignore[attr-defined, no-any-return]
        if value == "paused":
            return rows.filter(paused_at__isnull=False)
        if value == "failures":
            return rows.filter(failed__gt=0)
        if value == "running":
            return rows.filter(status=Status.IN_PROGRESS, paused_at__isnull=True)
        return rows.filter(status=value) if value in Status.values else None

    def counts(self) -> dict[str, int]:
        """Of batches that have not ended, which are few; and of all, so not beside a filter."""
        if self.is_narrowed:
            return {}
        active = Batch.objects.active()[: MOST_COUNTED + 1]
        paused = Count("pk", filter=Q(paused_at__isnull=False))
        found = active.aggregate(active=Count("pk"), paused=paused)
        if found["active"] > MOST_COUNTED:  # and the paused ones beyond are not counted
            return {}
        return found


class ModelFilter(Typed):
    title = "model"
    parameter_name = "model"
    hint = "name of the model"

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        return rows.filter(model=self.text) if self.text else None


class EndpointFilter(admin.SimpleListFilter):
    """The choices are what batches can be made for now; of another one only its address can be written."""

    title = "endpoint"
    parameter_name = "endpoint"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [(path, path) for path in settings.BATCH_ENDPOINTS]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        return rows.filter(endpoint=self.value()) if self.value() else None


class FailuresFilter(admin.SimpleListFilter):
    title = "failures"
    parameter_name = "failures"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [("yes", "some")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        return rows.filter(failed__gt=0) if self.value() == "yes" else None


class CreatedFilter(admin.ListFilter):
    """Created from a day to a day, both with all of it, in UTC."""

    title = "created"
    template = "admin/days_filter.html"
    NAMES = ("created_from", "created_to")

    def __init__(self, request: HttpRequest, params: Any, model: Any, page: Any) -> None:
        super().__init__(request, params, model, page)
        for name in self.NAMES:
            values = params.pop(name, [""])
            self.used_parameters[name] = values[-1]
        kept = request.GET.copy()
        for name in (*self.NAMES, "p", "e"):
            kept.pop(name, None)
        self.others = [(name, value) for name in kept for value in kept.getlist(name)]
        self.first, self.last = (_day(str(self.used_parameters[name])) for name in self.NAMES)

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.NAMES)

    @property
    def told(self) -> str:
        if self.first and self.last:
            return f"{self.first} to {self.last}"
        if self.first:
            return f"since {self.first}"
        return f"until {self.last}" if self.last else ""

    def choices(self, changelist: Any) -> Iterator[Any]:
        yield {"selected": not self.told, "display": "All"}
        yield {"selected": bool(self.told), "display": self.told}

    def queryset(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any] | None:
        if self.first:
            rows = rows.filter(created_at__gte=_midnight(self.first))
        if self.last:
            rows = rows.filter(created_at__lt=_midnight(self.last) + DAY)
        return rows


def _day(text: str) -> datetime.date | None:
    try:
        day = datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None
    return day if 1970 <= day.year < 9999 else None


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time.min, datetime.UTC)
