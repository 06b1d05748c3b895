"""Who works, by heartbeat."""

from typing import Any

from django.contrib import admin

from batches.models import Engine, Host, Pace, Share
from console.pages import Look
from console.parts import badge, moment


def life_badge(row: Any) -> Any:
    """Whether a heartbeat still counts."""
    return badge("alive", "good") if row.lease_expires_at > row.seen_at else badge("gone", "bad")


@admin.register(Host)
class HostAdmin(Look):
    list_display = ["name", "life", "pid", "version", "slots", "started"]
    ordering = ["-lease_expires_at"]

    @admin.display(description="state")
    def life(self, host: Host) -> Any:
        return life_badge(host)

    @admin.display(description="started", ordering="started_at")
    def started(self, host: Any) -> Any:
        return moment(host.started_at, host.seen_at)


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
