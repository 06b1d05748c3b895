"""The overview: what runs, what hurts and who is affected. Every number leads to the rows behind it."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import ApiKey
from batches import overview, speed
from batches.admin.graphs import WITH_FAILURES, latencies, list_url, throughput
from batches.admin.status import progress_of, state_of
from batches.admin.upstreams import state_of as upstream_state
from batches.models import Batch, Status
from batches.overview import Busy
from batches.troubles import Trouble, troubles
from console.parts import EMPTY, page_of
from console.site import Panel
from console.text import duration, guess, number, share


class Snapshot:
    """What one request shows of the service; each part is asked for once, and only when somebody needs it."""

    def __init__(self) -> None:
        self.workers, self.now = overview.workers()

    @cached_property
    def work(self) -> overview.Work:
        return overview.work()

    @cached_property
    def day(self) -> overview.Traffic:
        return overview.day(self.now)

    @cached_property
    def running(self) -> list[Any]:
        return overview.running(self.now) if self.work.active else []

    @cached_property
    def busiest(self) -> list[Busy]:
        return overview.busiest(self.now) if self.day.completed or self.day.failed else []

    @cached_property
    def upstreams(self) -> list[Any]:
        return overview.upstreams()

    @cached_property
    def is_new(self) -> bool:
        """Whether no batch ever came, so that there is nothing to show but how to begin."""
        return not (self.work.active or self.day.completed or Batch.objects.exists())


def _snapshot(request: Any) -> Snapshot:
    if not hasattr(request, "snapshot"):
        request.snapshot = Snapshot()
    found: Snapshot = request.snapshot
    return found


Make = Callable[[HttpRequest, Snapshot], Panel | None]


def _for(permission: str, make: Make, *, of_new: bool = False) -> Callable[[HttpRequest], Any]:
    """A panel for those who may look at what it tells of, and only while there is something to tell."""

    def panel(request: HttpRequest) -> Panel | None:
        if not request.user.has_perm(permission):
            return None
        snapshot = _snapshot(request)
        return make(request, snapshot) if snapshot.is_new == of_new else None

    return panel


# What hurts


def _troubles(request: HttpRequest, now: Snapshot) -> Panel | None:
    found = troubles(now.work, now.upstreams, now.workers)
    told = [(trouble, _where(trouble)) for trouble in found]
    return (
        Panel(template="batches/overview/troubles.html", context={"troubles": told})
        if told
        else None
    )


def _where(trouble: Trouble) -> str:
    if trouble.row is not None:
        return reverse("admin:batches_upstream_change", args=[trouble.row])
    lists = {"workers": "batches_host", "upstreams": "batches_upstream", "batches": "batches_batch"}
    return list_url(lists[trouble.about]) if trouble.about else ""


# Numbers that matter


def _figures(request: HttpRequest, now: Snapshot) -> Panel:
    day, work = now.day, now.work
    kinds = [
        (number(count), Status(status).label, list_url("batches_batch", state=status.value))
        for status, count in work.batches.items()
        if count
    ]
    if work.paused:
        kinds.append((number(work.paused), "paused", list_url("batches_batch", state="paused")))
    lag = None
    if work.oldest:
        key, since = work.oldest
        lag = (duration((now.now - since).total_seconds()), _batch_url(key), key)
    context = {
        "active": (number(work.active), list_url("batches_batch", state="active")),
        "kinds": kinds,
        "done": (number(day.completed), list_url("batches_trafficslice", since="day")),
        "failed": (
            number(day.failed),
            list_url("batches_trafficslice", since="day", **WITH_FAILURES),
        ),
        "rate": share(day.failed, day.completed + day.failed),
        "is_failing": bool(day.failed),
        "lately": (f"{day.lines_a_second:,.1f}", list_url("batches_batch", state="in_progress")),
        "latencies": (
            f"p50 {_latency(day.median)}",
            f"p95 {_latency(day.slow)}",
            list_url("batches_trafficslice", since="day"),
        ),
        "lag": lag,
    }
    return Panel(template="batches/overview/figures.html", context=context)


def _latency(milliseconds: float | None) -> str:
    return EMPTY if milliseconds is None else duration(milliseconds / 1000)


def _batch_url(key: str) -> str:
    return reverse("admin:batches_batch_change", args=[quote(key)])


# Over time


def _throughput(request: HttpRequest, now: Snapshot) -> Panel:
    chart = throughput(now.day.points, "batches_ownerhour")
    return Panel(
        template="console/bars_panel.html",
        context={"chart": chart},
        title="Lines per hour",
        width=6,
    )


def _latencies(request: HttpRequest, now: Snapshot) -> Panel:
    context = {"chart": latencies(now.day.points)}
    return Panel(
        template="console/lines_panel.html", context=context, title="Latency of calls", width=6
    )


# Who and what


def _running(request: HttpRequest, now: Snapshot) -> Panel:
    rows = [
        {
            "batch": batch,
            "url": page_of(batch),
            "state": state_of(batch),
            "owner": _owner(
                batch.account_id,
                batch.account.name,
                batch.external_user_id,
                batch.external_user and batch.external_user.external_id,
            ),
            "progress": progress_of(batch),
            "left": _left(batch),
        }
        for batch in now.running
    ]
    more = max(0, now.work.running - len(rows))
    context = {"rows": rows, "more": more, "all": list_url("batches_batch", state="running")}
    return Panel(
        template="batches/overview/running.html", context=context, title="Running now", width=8
    )


def _left(batch: Any) -> str:
    seconds = speed.seconds_left(batch, {batch.pk: batch.lines_a_second})
    return "" if seconds is None else guess(seconds)


def _owner(account: int, name: str, user: int | None, external_id: str | None) -> dict[str, str]:
    """Whose it is: the name by which they are known, its page, and the account when that is another."""
    if user is None:
        return {"name": name, "url": reverse("admin:accounts_account_change", args=[account])}
    url = reverse("admin:accounts_externaluser_change", args=[user])
    return {"name": external_id or "", "url": url, "of": name}


def _busiest(request: HttpRequest, now: Snapshot) -> Panel:
    rows = []
    for one in now.busiest:
        whose = {"since": "day", "account": one.account, "user": one.external_user}
        rows.append(
            {
                "owner": _owner(
                    one.account_id, one.account, one.external_user_id, one.external_user
                ),
                "lines": one.completed + one.failed,
                "failed": one.failed,
                "hours": list_url("batches_ownerhour", **whose),
                "failures": list_url("batches_ownerhour", **whose, **WITH_FAILURES),
            }
        )
    return Panel(
        template="batches/overview/busiest.html",
        context={"rows": rows},
        title="Busiest users, 24 h",
        width=4,
    )


def _upstreams(request: HttpRequest, now: Snapshot) -> Panel:
    rows = [
        {
            "upstream": one,
            "url": reverse("admin:batches_upstream_change", args=[one.pk]),
            "state": upstream_state(one),
        }
        for one in now.upstreams
    ]
    return Panel(
        template="batches/overview/upstreams.html",
        context={"rows": rows, "now": now.now},
        title="Upstreams",
        width=6,
    )


def _workers(request: HttpRequest, now: Snapshot) -> Panel:
    engines = [one for one in now.workers if one.kind == "engine" and one.alive]
    rows = [
        {
            "host": host,
            "engines": len([one for one in engines if one.name == host.name]),
            "in_flight": sum(one.in_flight for one in engines if one.name == host.name),
        }
        for host in now.workers
        if host.kind == "host"
    ]
    context = {"rows": rows, "now": now.now, "url": list_url("batches_host")}
    return Panel(
        template="batches/overview/workers.html", context=context, title="Workers", width=6
    )


# Before the first batch


def _first_run(request: HttpRequest, now: Snapshot) -> Panel:
    address = request.build_absolute_uri("/v1")
    context = {
        "has_upstream": bool(now.upstreams),
        "has_worker": any(one.kind == "host" and one.alive for one in now.workers),
        "has_key": ApiKey.objects.exists(),
        "may_add_upstream": request.user.has_perm("batches.add_upstream"),
        "may_add_key": request.user.has_perm("accounts.add_apikey"),
        "address": address,
    }
    return Panel(
        template="batches/overview/first_run.html",
        context=context,
        title="Three steps to the first batch",
    )


SEE_BATCHES, SEE_UPSTREAMS = "batches.view_batch", "batches.view_upstream"
panels = [
    _for(SEE_BATCHES, _first_run, of_new=True),
    _for(SEE_BATCHES, _troubles),
    _for(SEE_BATCHES, _figures),
    _for(SEE_BATCHES, _throughput),
    _for(SEE_BATCHES, _latencies),
    _for(SEE_BATCHES, _running),
    _for("batches.view_ownerhour", _busiest),
    _for(SEE_UPSTREAMS, _upstreams),
    _for("batches.view_host", _workers),
]
