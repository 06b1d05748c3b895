"""Who works, by heartbeat."""

import datetime
from collections import defaultdict
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from api.clock import database_now
from batches.models import Engine, Host, Pace, Shard, Share
from console.pages import Look
from console.parts import badge, moment


def life_badge(row: Any) -> Any:
    """Whether a heartbeat still counts."""
    return badge("alive", "good") if row.lease_expires_at > row.seen_at else badge("gone", "bad")


def _look_at(row: Any, now: datetime.datetime) -> None:
    row.is_alive = row.lease_expires_at > now
    row.seen_heard = min(now, row.heard_at)


@admin.register(Host)
class HostAdmin(Look):
    """Hosts, each with its engines, on one page: they are few."""

    ordering = ["-lease_expires_at"]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        now = database_now()
        engines: dict[str, list[Any]] = defaultdict(list)
        held = Count("shards", filter=Q(shards__state=Shard.State.RUNNING))
        for engine in Engine.objects.annotate(held=held).order_by("started_at", "pk"):
            _look_at(engine, now)
            engines[engine.host].append(engine)
        hosts = []
        known: Any = Host.objects.order_by("name", "-lease_expires_at")
        for host in known:
            _look_at(host, now)
            host.engines = engines.pop(host.name, [])
            hosts.append(host)
        context = self.admin_site.each_context(request) | {
            "title": self.admin_site.name_of(Host),
            "opts": self.opts,
            "now": now,
            "hosts": hosts,
            "homeless": [engine for found in engines.values() for engine in found],
            "version": settings.VERSION,
        }
        return TemplateResponse(request, "batches/workers.html", context)


@admin.register(Engine)
class EngineAdmin(Look):
    list_display = ["host", "life", "pid", "in_flight", "stopping", "started"]
    ordering = ["-lease_expires_at"]

    @admin.display(description="state")
    def life(self, engine: Engine) -> Any:
        return life_badge(engine)

    @admin.display(description="started", ordering="started_at")
    def started(self, engine: Any) -> Any:
        return moment(engine.started_at, engine.seen_at)


@admin.register(Share)
class ShareAdmin(Look):
    list_display = ["engine", "batch", "upstream", "wanted", "slots"]
    list_select_related = ["engine", "batch", "upstream"]
    ordering = ["id"]


@admin.register(Pace)
class PaceAdmin(Look):
    list_display = ["upstream", "model", "calls", "found_at"]
    list_select_related = ["upstream"]
    ordering = ["id"]
