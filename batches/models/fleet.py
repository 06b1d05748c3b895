"""Who works: hosts, the engines that run on them, each one's share of a limit, and the pace found. All by heartbeat."""

import datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from batches.models.upstream import Upstream


class HostQuerySet(models.QuerySet["Host"]):
    def alive(self, now: datetime.datetime) -> Self:
        return self.filter(lease_expires_at__gt=now)


class Host(models.Model):
    """One `runworker`: how many engines it can run at once, and until when it counts as alive."""

    LEASE = datetime.timedelta(seconds=30)

    id = models.CharField(max_length=64, primary_key=True)
    name = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=50)
    slots = models.PositiveIntegerField()  # engines it runs at once
    started_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField()

    objects = HostQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"

    @property
    def heard_at(self) -> datetime.datetime:
        """When its last heartbeat came."""
        return self.lease_expires_at - self.LEASE


class EngineQuerySet(models.QuerySet["Engine"]):
    def alive(self, now: datetime.datetime) -> Self:
        return self.filter(lease_expires_at__gt=now)


class Engine(models.Model):
    """One turn at the pump: a worker process running lines for a bounded time. Gone when the turn is over."""

    id = models.CharField(max_length=64, primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    lease_expires_at = models.DateTimeField(db_index=True)
    in_flight = models.PositiveIntegerField(default=0)  # calls, at the last heartbeat
    stopping = models.BooleanField(default=False)

    objects = EngineQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.host} ({self.pid})"

    @property
    def heard_at(self) -> datetime.datetime:
        """When its last heartbeat came."""
        return self.lease_expires_at - self.lease()

    @staticmethod
    def lease() -> datetime.timedelta:
        """How long a heartbeat counts."""
        return datetime.timedelta(seconds=settings.BATCH_LEASE_SECONDS)


class Share(models.Model):
    """How many calls one engine may have in flight for one batch, or to one upstream, of that one's limit.

    The shares of living engines never add up to more than the limit: that is how it holds across all hosts.
    """

    engine = models.ForeignKey(Engine, models.CASCADE, related_name="shares")
    batch = models.ForeignKey("batches.Batch", models.CASCADE, related_name="shares", null=True)
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="shares", null=True)
    wanted = models.PositiveIntegerField()  # calls it could make at once
    slots = models.PositiveIntegerField()  # calls it may make at once

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(batch__isnull=False, upstream__isnull=True)
                | Q(batch__isnull=True, upstream__isnull=False),
                name="share_is_of_one_thing",
            ),
            models.UniqueConstraint(fields=["engine", "batch"], name="one_share_of_a_batch"),
            models.UniqueConstraint(fields=["engine", "upstream"], name="one_share_of_an_upstream"),
        ]

    def __str__(self) -> str:
        return f"{self.slots} of {self.batch_id or self.upstream_id}"


class Pace(models.Model):
    """How many calls at once an upstream bore for a model, lately and over all engines: where the next one begins."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="paces")
    model = models.CharField(max_length=255, blank=True)
    calls = models.PositiveIntegerField()
    found_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["upstream", "model"], name="one_pace_of_a_model"),
        ]

    def __str__(self) -> str:
        return f"{self.upstream_id} {self.model}: {self.calls}"
