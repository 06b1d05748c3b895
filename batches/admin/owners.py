"""The pages of accounts and of external users: what they run, what they used, and what can be done about it.

They are those of `accounts`, which knows no batches, with what only this app can add.
"""

import datetime
from collections import Counter
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, Sum
from django.http import HttpRequest

from accounts.admin import AccountAdmin, ExternalUserAdmin
from accounts.models import Account, ApiKey, ExternalUser
from batches import acts
from batches.admin.graphs import TONES, list_url
from batches.admin.status import state_of
from batches.models import TERMINAL, Batch, OwnerHour, Status
from console.charts import Bars, Column, bars
from console.text import number

DAYS = 30
FAILING = 5  # batches with failures that are shown
KEYS = 20
USED = ("completed", "failed", "input_tokens", "output_tokens")
DAY = datetime.timedelta(days=1)


def _shown(owner: Q, chosen: dict[str, str], now: datetime.datetime) -> dict[str, Any]:
    """What the page of an owner shows. chosen: the filters of the lists that have the rows behind it."""
    batches: Any = Batch.objects.filter(owner)
    active = batches.exclude(status__in=TERMINAL).order_by().values_list("status")
    counts = dict(active.annotate(Count("pk")))
    states = [
        (number(counts[status]) if status in counts else "", Status(status).label, url)
        for status in Status
        if (status in counts or status in TERMINAL)
        and (url := list_url("batches_batch", state=status.value, **chosen))
    ]
    failing = batches.filter(failed__gt=0).order_by("-created_at", "-id")[:FAILING]
    rows = OwnerHour.objects.filter(owner, hour__gt=now - DAYS * DAY).order_by().values_list("hour")
    hours = {
        hour: dict(zip(USED, sums, strict=True))
        for hour, *sums in rows.annotate(*[Sum(name) for name in USED])
    }
    return {
        "states": states,
        "active": (
            number(sum(counts.values())),
            list_url("batches_batch", state="active", **chosen),
        ),
        "failing": [(batch, state_of(batch)) for batch in failing],
        "failures": list_url("batches_batch", state="failures", **chosen),
        "usage": [
            (
                "24 hours",
                _sum(hours, now - DAY),
                list_url("batches_ownerhour", since="day", **chosen),
            ),
            (
                "30 days",
                _sum(hours, now - DAYS * DAY),
                list_url("batches_ownerhour", since="month", **chosen),
            ),
        ],
        "chart": _days(hours, now, chosen),
    }


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
class AccountPage(AccountAdmin):
    verbs = [*AccountAdmin.verbs, acts.CANCEL_OF_ACCOUNT]
    change_form_template = "batches/owner.html"

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        shown = _shown(Q(account=row), {"account": row.name}, row.seen_at)
        shown["users"] = list_url("accounts_externaluser", account=row.name)
        if request.user.has_perm("accounts.view_apikey"):
            keys = ApiKey.objects.filter(account=row).order_by("revoked_at", "-created_at")[:KEYS]
            shown["keys"] = [(key, key.state_at(row.seen_at, row.is_active)) for key in keys]
            shown["all_keys"] = list_url("accounts_apikey", account=row.name)
        return shown


@admin.register(ExternalUser)
class ExternalUserPage(ExternalUserAdmin):
    verbs = [*ExternalUserAdmin.verbs, acts.CANCEL_OF_USER]
    change_form_template = "batches/owner.html"

    def shown_of(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        chosen = {"account": row.account.name, "user": row.external_id}
        return _shown(Q(account=row.account_id, external_user=row), chosen, row.seen_at)
