"""Shard: a run of request lines held by at most one engine; Segment: results of a shard, committed."""

import datetime
from typing import Any, Self

from django.db import models
from django.db.models import F, Q, Sum, Value
from django.db.models.functions import Concat, Right

from api.prepared import Given, Moment, PreparedUpdate
from batches.models.batch import Batch
from batches.models.fleet import Engine
from files.models import Blob

ALONE_AFTER = 2  # deaths in a row: an engine that has the shard has nothing else
# And it calls one line at a time. From here on a death counts only if a line was being called: that line it was.
ONE_BY_ONE_AFTER = 3
GIVEN_UP_AFTER = 6  # and that line is given up
MOST_LOST_BY = 5  # engines that are remembered to have lost it
USAGE = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


class ShardQuerySet(models.QuerySet["Shard"]):
    def claimable(self, now: Moment) -> Self:
        """Not done, and with no living owner."""
        return self.filter(
            Q(state=Shard.State.WAITING) | Q(state=Shard.State.RUNNING, lease_expires_at__lt=now)
        )

    def suspect(self) -> Self:
        """Whose next owner is to have nothing else, for its owners died and got nothing done."""
        # The claim of a running one will count one death more.
        return self.filter(deaths__gt=0).filter(
            Q(state=Shard.State.WAITING, deaths__gte=ALONE_AFTER)
            | Q(state=Shard.State.RUNNING, deaths__gte=ALONE_AFTER - 1)
        )

    def unsuspected(self) -> Self:
        return self.filter(
            Q(state=Shard.State.WAITING, deaths__lt=ALONE_AFTER)
            | Q(state=Shard.State.RUNNING, deaths__lt=ALONE_AFTER - 1)
        )

    def held_by(self, engine_id: str) -> Self:
        return self.filter(state=Shard.State.RUNNING, owner_id=engine_id)

    def give_up(self, engine_id: str) -> int:
        """Hand back what an engine still holds that ends here, perhaps with answers that nobody has recorded."""
        names = Right(Concat("lost_by", Value(f" {engine_id}")), 255)
        return self.held_by(engine_id).hand_back(lost_by=names)

    def hand_back(self, **fields: Any) -> int:
        """Let others have them at once."""
        return self.update(state=Shard.State.WAITING, owner=None, lease_expires_at=None, **fields)


class Shard(models.Model):
    """A contiguous run of whole request lines of a batch's input file.

    waiting -> running -> done, and back to waiting when handed back or requeued. A running shard has an owner
    whose lease ends; whoever claims it raises `epoch`, and every write of an owner names the epoch it claimed.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"

    batch = models.ForeignKey(Batch, models.CASCADE, related_name="shards")
    number = models.PositiveIntegerField()
    first_line = models.PositiveIntegerField()  # in the input file, counted from 1
    lines = models.PositiveIntegerField()  # request lines; blank ones do not count
    start = models.BigIntegerField()  # bytes in the input file
    end = models.BigIntegerField()

    state = models.CharField(max_length=7, choices=State.choices, default=State.WAITING)
    owner = models.ForeignKey(Engine, models.SET_NULL, related_name="shards", null=True)
    epoch = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    deaths = models.PositiveIntegerField(
        default=0
    )  # leases that lapsed since a result was recorded
    calling = models.BooleanField(
        default=False, db_default=False
    )  # a line, of a shard that runs one by one

    # Engines that may have had answers, not recorded, when they lost it; without one since a result was recorded.
    lost_by = models.CharField(max_length=255, blank=True, default="", db_default="")

    objects = ShardQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["batch", "number"], name="one_shard_a_number"),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_expires_at__isnull=False),
                name="running_shard_has_a_lease",
            ),
        ]
        indexes = [
            models.Index(fields=["batch", "state", "number"], name="shard_next"),
            # Few shards run at once; this finds the held and the lapsed ones among millions.
            models.Index(
                fields=["lease_expires_at"], name="shard_running", condition=Q(state="running")
            ),
            models.Index(fields=["deaths"], name="shard_died", condition=Q(deaths__gt=0)),
            models.Index(fields=["lost_by"], name="shard_lost", condition=~Q(lost_by="")),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id}#{self.number}"

    # Mutators

    def claim(self, engine: Engine | None, lease_seconds: float, now: datetime.datetime) -> bool:
        """Become the owner, by one conditional UPDATE that raises the epoch; False if another did."""
        until = now + datetime.timedelta(seconds=lease_seconds)
        is_telling = self.calling or self.deaths < ONE_BY_ONE_AFTER
        died = int(self.state == self.State.RUNNING and is_telling)
        names = [*self.lost_by.split(), *filter(None, [self.owner_id])]
        lost_by = " ".join(names[-MOST_LOST_BY:])
        if not _claim.run(
            shard=self.pk,
            epoch=self.epoch,
            state=self.state,
            now=now,
            engine=engine and engine.pk,
            until=until,
            died=died,
            lost_by=lost_by,
        ):
            return False
        self.deaths += died
        self.lost_by = lost_by
        self.state, self.owner, self.lease_expires_at = self.State.RUNNING, engine, until
        self.calling = False
        self.epoch += 1
        return True


_claim = PreparedUpdate(
    lambda: Shard.objects.claimable(Given("now", models.DateTimeField())).filter(
        pk=Given("shard"), epoch=Given("epoch"), state=Given("state")
    ),
    deaths=F("deaths") + Given("died", models.IntegerField()),
    state=Shard.State.RUNNING,
    owner=Given("engine"),
    epoch=F("epoch") + 1,
    lost_by=Given("lost_by"),
    lease_expires_at=Given("until", models.DateTimeField()),
    calling=False,
)


class SegmentQuerySet(models.QuerySet["Segment"]):
    def of(self, batch: Batch) -> Self:
        return self.filter(shard__batch=batch)

    def totals(self, *columns: str) -> dict[str, int]:
        """The sums of these columns."""
        sums = self.aggregate(**{column: Sum(column, default=0) for column in columns})
        return {column: int(value) for column, value in sums.items()}


class Segment(models.Model):
    """Results of some lines of a shard: one immutable blob, its output lines, then its error lines, then its index.

    A shard that is done has exactly one segment, with all its lines in input order.
    """

    shard = models.ForeignKey(Shard, models.CASCADE, related_name="segments")
    blob = models.ForeignKey(Blob, models.PROTECT, related_name="segments")
    attempt = models.PositiveIntegerField()
    output_bytes = models.BigIntegerField()
    error_bytes = models.BigIntegerField()
    completed = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()
    causes = models.JSONField(null=True)  # of the failed lines: how many of each
    # Which failed lines run again and so no longer count, since a requeue: {"causes": null or names, "lines": null or
    # their indexes}, both null for all of them.
    rerun = models.JSONField(null=True)
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)

    objects = SegmentQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.shard}: {self.completed} + {self.failed}"

    def counted_failures(self) -> int:
        """How many of its failures the batch counts, as far as the row alone tells."""
        if self.rerun is None:
            return self.failed
        causes, lines = self.rerun["causes"], self.rerun["lines"]
        if lines is not None:
            return max(0, self.failed - len(lines))
        again = (
            self.failed if causes is None else sum((self.causes or {}).get(c, 0) for c in causes)
        )
        return self.failed - again

    def still_fails(self, cause: str, index: int) -> bool:
        """Whether a line that failed in this segment counts as failed."""
        if self.rerun is None:
            return True
        causes, lines = self.rerun["causes"], self.rerun["lines"]
        chosen = (causes is None or cause in causes) and (lines is None or index in lines)
        return not chosen
