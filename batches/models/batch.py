"""Batch: its states, the one place where they change, and the history of those changes."""

import datetime
from typing import Any, Self

from django.db import models, transaction
from django.db.models import F, Q, Sum

from accounts.models import Owned, OwnedQuerySet
from api.clock import database_now
from api.ids import new_batch_id
from api.prepared import Moment
from batches.models.upstream import Upstream
from files.models import File


class Status(models.TextChoices):
    """The API's own words."""

    VALIDATING = "validating", "validating"
    """The input file is being checked; no call is made."""
    FAILED = "failed", "failed"
    """The input file was refused; `errors` says why. There are no results."""
    IN_PROGRESS = "in_progress", "in progress"
    """Lines are being sent to the upstream, or wait for it."""
    FINALIZING = "finalizing", "finalizing"
    """Every line is answered; the result files are being put together."""
    COMPLETED = "completed", "completed"
    """Every line is in the output file or in the error file."""
    EXPIRED = "expired", "expired"
    """The window closed first. What was done is kept; the rest is in the error file."""
    CANCELLING = "cancelling", "cancelling"
    """No new call is made; calls in flight are ending."""
    CANCELLED = "cancelled", "cancelled"
    """Stopped on request. What was done is kept; the rest is in the error file."""


class Priority(models.IntegerChoices):
    """Whose lines go first. Among batches of one priority, owners take turns."""

    LOW = -1, "low"
    NORMAL = 0, "normal"
    HIGH = 1, "high"


TRANSITIONS: dict[Status, tuple[Status, ...]] = {
    Status.VALIDATING: (Status.IN_PROGRESS, Status.FAILED, Status.CANCELLING, Status.EXPIRED),
    Status.IN_PROGRESS: (Status.FINALIZING, Status.CANCELLING, Status.EXPIRED),
    Status.FINALIZING: (Status.COMPLETED,),
    Status.CANCELLING: (Status.CANCELLED,),
    # Out of an end only by an operator's requeue, which raises `attempt`.
    Status.FAILED: (Status.VALIDATING,),
    Status.COMPLETED: (Status.IN_PROGRESS,),
    Status.EXPIRED: (Status.VALIDATING, Status.IN_PROGRESS),
    Status.CANCELLED: (Status.VALIDATING, Status.IN_PROGRESS),
}
TERMINAL = frozenset({Status.FAILED, Status.COMPLETED, Status.EXPIRED, Status.CANCELLED})
ACTIVE = [status for status in Status if status not in TERMINAL]
STAMPS: dict[Status, str] = {
    status: f"{status.value}_at" for status in Status if status != Status.VALIDATING
}


OPEN_LINES = F("total") - F("completed") - F("failed")  # that have no result yet
NOT_PAUSED: dict[str, Any] = {"paused_at": None, "paused_by": "", "pause_reason": ""}


class BatchQuerySet(OwnedQuerySet):
    def active(self) -> Self:
        """Batches that have not ended."""
        return self.filter(status__in=ACTIVE)  # in the words of the index on them

    def running(self, now: Moment) -> Self:
        """Batches whose lines may be sent: in progress, not paused, and within their window."""
        return self.filter(status=Status.IN_PROGRESS, paused_at__isnull=True, expires_at__gt=now)

    def overdue(self, now: datetime.datetime) -> Self:
        """Batches whose window has closed and that still wait for their end by the clock."""
        return self.filter(status__in=(Status.VALIDATING, Status.IN_PROGRESS), expires_at__lte=now)

    def queued_requests(self) -> int:
        """How many requests of the rows are to be answered yet."""
        left = Sum(OPEN_LINES, default=0)
        return int(self.active().order_by().aggregate(left=left)["left"])

    def unattended(self, now: datetime.datetime) -> Self:
        """Batches whose present step nobody is working on."""
        return self.filter(Q(step_lease_expires_at__isnull=True) | Q(step_lease_expires_at__lt=now))


class Batch(Owned):
    """One submission: an input file, an endpoint, a window, and what became of every line.

    validating -> in_progress -> finalizing -> completed
    validating -> failed
    validating, in_progress -> cancelling -> cancelled
    validating, in_progress -> expired
    failed, completed, expired, cancelled -> validating or in_progress: a requeue, with the next attempt number
    """

    class Conflict(Exception):
        """The batch was not in a state that allows the act; `status` is the one it is in."""

        def __init__(self, batch: "Batch", wish: str) -> None:
            """wish: what it cannot do, such as "become failed"."""
            self.status = Status(batch.status)
            super().__init__(f"The batch {batch.pk} is {self.status.label} and cannot {wish}.")

    id = models.CharField(max_length=64, primary_key=True, default=new_batch_id, editable=False)
    created_by = models.CharField(max_length=200, editable=False)  # the key's prefix, or a command
    # The wire shows these ids even when the file never was, or is gone: hence no constraint.
    input_file = models.ForeignKey(
        File, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    output_file = models.ForeignKey(
        File, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False, null=True
    )
    error_file = models.ForeignKey(
        File, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False, null=True
    )
    # Set until the batch ends, so that the database itself refuses to delete an input in use.
    held_file = models.ForeignKey(File, models.PROTECT, related_name="holders", null=True)

    endpoint = models.CharField(max_length=100)
    completion_window = models.CharField(max_length=10)
    max_concurrency = models.PositiveIntegerField()
    metadata = models.JSONField(null=True)
    output_expires_after_seconds = models.PositiveIntegerField(null=True)

    status = models.CharField(max_length=12, choices=Status.choices, default=Status.VALIDATING)
    attempt = models.PositiveIntegerField(default=1)  # raised by each requeue
    errors = models.JSONField(null=True)  # a list of {code, message, param, line}
    model = models.CharField(max_length=255, null=True)  # noqa: DJ001 - null on the wire
    upstream = models.ForeignKey(
        Upstream, models.PROTECT, related_name="batches", null=True, db_index=False
    )

    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)

    created_at = models.DateTimeField(default=database_now, editable=False)
    expires_at = models.DateTimeField()
    closed_by = models.CharField(max_length=200, blank=True)  # who closed the window early, and why
    close_reason = models.TextField(blank=True)
    # While it is paused, no call begins and clients go on seeing its state; its window goes on.
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=200, blank=True)
    pause_reason = models.TextField(blank=True)
    priority = models.SmallIntegerField(choices=Priority.choices, default=Priority.NORMAL)
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    expired_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    # Who is validating or finalising right now. It saves double work; the moves themselves need no lease.
    step_lease_expires_at = models.DateTimeField(null=True)

    objects = BatchQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "batches"
        permissions = [
            ("cancel_batch", "Can cancel batches"),
            ("requeue_batch", "Can requeue batches"),
            ("pause_batch", "Can pause and resume batches"),
            ("expire_batch", "Can close the window of batches"),
            ("prioritize_batch", "Can change the priority of batches"),
            ("export_batch", "Can export the list of batches"),
            ("view_content", "Can read prompts and answers"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="batch_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(priority__in=Priority.values), name="batch_priority_is_known"
            ),
            models.CheckConstraint(
                condition=Q(total__gte=F("completed") + F("failed")), name="batch_counts_fit"
            ),
        ]
        indexes = [
            models.Index(
                fields=["account", "external_user", "-created_at", "-id"], name="batch_page"
            ),
            models.Index(fields=["status", "-created_at", "-id"], name="batch_by_status"),
            models.Index(fields=["-created_at", "-id"], name="batch_newest"),
            models.Index(fields=["upstream", "status"], name="batch_of_upstream"),
            # The last columns are there to be read: whoever counts rows of a state looks at no other place.
            models.Index(
                fields=["account", "-created_at", "-id", "status"], name="batch_of_account"
            ),
            models.Index(
                fields=["external_user", "-created_at", "-id", "status"], name="batch_of_user"
            ),
            models.Index(fields=["model", "-created_at", "-id"], name="batch_of_model"),
            models.Index(fields=["endpoint", "-created_at", "-id"], name="batch_of_endpoint"),
            models.Index(
                fields=["-created_at", "-id", "failed"],
                name="batch_with_failures",
                condition=Q(failed__gt=0),
            ),
            models.Index(
                fields=["-created_at", "-id", "status"],
                name="batch_active",
                condition=Q(status__in=ACTIVE),
            ),
            models.Index(
                fields=["-created_at", "-id"],
                name="batch_paused",
                condition=Q(paused_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.id

    # Mutators

    def move(self, to: Status, *, actor: str, reason: str = "", **fields: Any) -> None:
        """Change the state, by one conditional UPDATE, with its stamp, `fields`, and a row of the history.

        Exactly one of any number of rivals wins; the others get `Batch.Conflict` and have changed nothing.
        A batch that moved on to a state from which `to` is still allowed is moved from there.
        """
        attempt = self.attempt
        while True:
            was = Status(self.status)
            if to not in TRANSITIONS[was] or (was in TERMINAL) != ("attempt" in fields):
                raise self.Conflict(self, f"become {to.label}")
            if self._swap(was, to, attempt, actor, reason, fields):
                return
            self.refresh_from_db()
            if self.attempt != attempt:
                raise self.Conflict(self, f"become {to.label}")

    def _swap(
        self, was: Status, to: Status, attempt: int, actor: str, reason: str, fields: dict[str, Any]
    ) -> bool:
        stamps = [getattr(self, stamp) for stamp in STAMPS.values()]
        now = max(database_now(), self.created_at, *filter(None, stamps))  # if the clock went back
        changes = {"status": to, "step_lease_expires_at": None} | fields
        if stamp := STAMPS.get(to):
            changes[stamp] = now
        if to in TERMINAL:
            changes |= {"held_file": None, **NOT_PAUSED}
        with transaction.atomic():
            rows = type(self).objects.filter(pk=self.pk, status=was, attempt=attempt)
            if not rows.update(**changes):
                return False
            Transition.objects.create(
                batch_id=self.pk,
                at=now,
                attempt=changes.get("attempt", attempt),
                from_status=was,
                to_status=to,
                actor=actor,
                reason=reason,
            )
        for name, value in changes.items():
            setattr(self, name, value)
        return True

    def claim_step(self, seconds: float) -> bool:
        """Take the present step for `seconds`; False if somebody has it or the batch has moved on."""
        now = database_now()
        rows = type(self).objects.filter(pk=self.pk, status=self.status, attempt=self.attempt)
        return bool(
            rows.unattended(now).update(
                step_lease_expires_at=now + datetime.timedelta(seconds=seconds)
            )
        )

    def renew_step(self, seconds: float) -> bool:
        """Keep the present step; False if the batch has moved on, so that the work is in vain."""
        until = database_now() + datetime.timedelta(seconds=seconds)
        rows = type(self).objects.filter(pk=self.pk, status=self.status, attempt=self.attempt)
        return bool(rows.update(step_lease_expires_at=until))

    def release_step(self) -> None:
        """Let another worker take the present step at once."""
        rows = type(self).objects.filter(pk=self.pk, status=self.status, attempt=self.attempt)
        rows.update(step_lease_expires_at=None)

    def pause(self, *, actor: str, reason: str = "") -> bool:
        """Let no call begin until it is resumed; False if it is paused, or has nothing left to call."""
        return self._set(
            Q(paused_at__isnull=True),
            paused_at=database_now(),
            paused_by=actor,
            pause_reason=reason,
        )

    def resume(self) -> bool:
        """False if it was not paused."""
        return self._set(Q(paused_at__isnull=False), **NOT_PAUSED)

    def prioritize(self, priority: Priority) -> bool:
        """False if it has that priority, or has nothing left to call."""
        return self._set(~Q(priority=priority), priority=priority)

    def _set(self, condition: Q, **changes: Any) -> bool:
        """Change what holds for lines that are not called yet, by one conditional UPDATE."""
        rows = type(self).objects.filter(
            condition, pk=self.pk, status__in=(Status.VALIDATING, Status.IN_PROGRESS)
        )
        changed = bool(rows.update(**changes))
        self.refresh_from_db()
        return changed

    # Properties

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def ended_at(self) -> datetime.datetime | None:
        """When it came to the end it is at; None while it has not ended."""
        return getattr(self, STAMPS[Status(self.status)]) if self.is_terminal else None


class Transition(models.Model):
    """One state change of a batch: when, from, to, who, why. Written with the change itself, never altered."""

    batch = models.ForeignKey(Batch, models.CASCADE, related_name="history")
    at = models.DateTimeField()
    attempt = models.PositiveIntegerField()
    from_status = models.CharField(max_length=12, blank=True)  # empty: the batch was created
    to_status = models.CharField(max_length=12)
    actor = models.CharField(max_length=200)
    reason = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["batch", "id"], name="history_of_batch")]

    def __str__(self) -> str:
        return f"{self.batch_id}: {self.from_status or 'new'} -> {self.to_status}"
