"""The pages of accounts and of external users: what they run, what they used, and what can be done about it.

They are those of `accounts`, which knows no batches, with what only this app can add.
"""

import dataclasses
import datetime
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.http import HttpRequest
from django.urls import reverse

from accounts.admin import AccountAdmin, ExternalUserAdmin
from accounts.models import Account, ApiKey, ExternalUser
from batches import acts, choosing
from batches.admin.graphs import TONES, WITH_FAILURES, list_url
from batches.admin.status import state_of
from batches.models import OPEN_LINES, TERMINAL, Batch, OwnerHour, Status
from console.charts import Bars, Column, bars
from console.finding import together
from console.text import number, size
from console.timed import Timed
from files.models import File

STORED = "stored"  # beside the states
DAYS = 30
FAILING = 5  # batches with failures that are shown
CAUSES = 5  # of each of them
KEYS = 20
USED = ("completed", "failed", "input_tokens", "output_tokens")
DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit is used, as it is written, and where the rows behind it are."""

    name: str
    written: Callable[[float], str]
    used: int
    limit: int | None
    url: str

    @property
    def used_text(self) -> str:
        return self.written(self.used)

    @property
    def limit_text(self) -> str:
        return "no limit" if self.limit is None else f"of {self.written(self.limit)}"


def _held(owner: Q) -> tuple[dict[str, int], int, int]:
    """How many batches are in each state that is no end, the requests they have queued, and the bytes that are stored."""
    batches: Any = Batch.objects.filter(owner)
    active = batches.active().order_by().values_list("status")
    files: Any = File.objects.filter(owner).order_by().values_list(Value(STORED))
    parts = [
        active.annotate(rows=Count("pk"), sum=Sum(OPEN_LINES)),
        files.annotate(rows=Count("pk"), sum=Sum("bytes", default=0)),
    ]
    found = {kind: (rows, int(total)) for kind, rows, total in together(parts)}
    _, stored = found.pop(STORED, (0, 0))
    counts = {status: rows for status, (rows, _) in found.items()}
    return counts, sum(requests for _, requests in found.values()), stored


def _shown(row: Any, owner: Q, chosen: dict[str, str]) -> dict[str, Any]:
    """What the page of an owner shows. chosen: the filters of the lists that have the rows behind it."""
    now = row.seen_at
    batches: Any = Batch.objects.filter(owner)
    counts, queued, stored = _held(owner)
    states = {
        status: (status.label, list_url("batches_batch", state=status.value, **chosen))
        for status in Status
    }
    failing = batches.filter(failed__gt=0).order_by("-created_at", "-id")[:FAILING]
    rows = OwnerHour.objects.filter(owner, hour__gt=now - DAYS * DAY).order_by().values_list("hour")
    hours = {
        hour: dict(zip(USED, sums, strict=True))
        for hour, *sums in rows.annotate(*[Sum(name) for name in USED])
    }
    return {
        "states": [
            (number(counts[status]), *state) for status, state in states.items() if status in counts
        ],
        "ends": [state for status, state in states.items() if status in TERMINAL],
        "active": (
            number(sum(counts.values())),
            list_url("batches_batch", state="active", **chosen),
        ),
        "limits": [
            Use(
                "Queued requests",
                number,
                queued,
                row.max_queued_requests,
                list_url("batches_batch", state="active", **chosen),
            ),
            Use("Stored", size, stored, row.max_stored_bytes, list_url("files_file", **chosen)),
        ],
        "failing": _with_causes(list(failing)),
        "failures": list_url("batches_batch", state="failures", **chosen),
        "usage": [
            (
                text,
                _sum(hours, now - days * DAY),
                list_url("batches_ownerhour", since=since, **chosen),
                list_url("batches_ownerhour", since=since, **chosen, **WITH_FAILURES),
            )
            for text, days, since in (("24 hours", 1, "day"), ("30 days", DAYS, "month"))
        ],
        "chart": _days(hours, now, chosen),
    }


def _with_causes(batches: list[Batch]) -> list[tuple[Batch, Any, list[tuple[str, int, str]]]]:
    """Each batch with its state, and by what cause how many of its lines failed, and where those are."""
    found = choosing.causes_of_each(batches)
    rows = []
    for batch in batches:
        lines = reverse("admin:batches_batch_lines", args=[quote(batch.pk)])
        causes = [
            (cause, count, f"{lines}?{urlencode({'cause': cause})}")
            for cause, count in list(found.get(batch.pk, {}).items())[:CAUSES]
        ]
        rows.append((batch, state_of(batch), causes))
    return rows


def _sum(hours: dict[datetime.datetime, Any], since: datetime.datetime) -> Counter[str]:
    found: Counter[str] = Counter(dict.fromkeys(USED, 0))
    for hour, counts in hours.items():
        if hour > since:
            found.update(counts)
    return found


def _days(hours: dict[datetime.datetime, Any], now: datetime.datetime, chosen: Any) -> Bars:
    today = now.astimezone(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    columns = []
    for back in range(DAYS - 1, -1, -1):
        day = today - back * DAY
        counts = _sum(
            {hour: of for hour, of in hours.items() if hour < day + DAY}, day - DAY / 86400
        )
        parts: dict[str, float] = {"done": counts["completed"], "failed": counts["failed"]}
        span = {"hour__gte": day.isoformat(), "hour__lt": (day + DAY).isoformat()}
        url = list_url("batches_ownerhour", **span, **chosen) if any(parts.values()) else ""
        columns.append(Column(f"{day:%d %b}", parts, url))
    return bars("Lines done and failed, day by day", columns, TONES)


admin.site.unregister([Account, ExternalUser])


@admin.register(Account)
class AccountPage(Timed, AccountAdmin):
    verbs = [*AccountAdmin.verbs, acts.CANCEL_OF_ACCOUNT]
    change_form_template = "batches/owner.html"

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        shown = _shown(row, Q(account=row), {"account": row.name})
        shown["users"] = list_url("accounts_externaluser", account=row.name)
        if request.user.has_perm("accounts.view_apikey"):
            live_first = F("revoked_at").asc(nulls_first=True)  # PostgreSQL would have them last
            keys = ApiKey.objects.filter(account=row).order_by(live_first, "-created_at")[:KEYS]
            shown["keys"] = [(key, key.state_at(row.seen_at, row.is_active)) for key in keys]
            shown["all_keys"] = list_url("accounts_apikey", account=row.name)
        return shown


@admin.register(ExternalUser)
class ExternalUserPage(Timed, ExternalUserAdmin):
    verbs = [*ExternalUserAdmin.verbs, acts.CANCEL_OF_USER]
    change_form_template = "batches/owner.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related("account")

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        chosen = {"account": row.account.name, "user": row.external_id}
        return _shown(row, Q(account=row.account_id, external_user=row), chosen)
