"""What the lines brought over time, counted as they are committed and rolled up so that nobody sums over lines."""

from django.db import models
from django.db.models import Q

from accounts.models import Account, ExternalUser
from batches.models.batch import Batch
from batches.models.upstream import Upstream

# The upper ends of the spans that latencies are counted in, in milliseconds; the last span is open.
LATENCY_EDGES = (100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000)
LATENCIES = tuple(f"latency_{number}" for number in range(len(LATENCY_EDGES) + 1))
COUNTS = ("completed", "failed", "calls", "input_tokens", "output_tokens", *LATENCIES)


class Counts(models.Model):
    """What a number of lines brought. Lines that were never called, since their batch ended first, do not count."""

    completed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    calls = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    # How many of the completed lines' last calls took how long: one number for each span of LATENCY_EDGES.
    latency_0 = models.BigIntegerField(default=0)
    latency_1 = models.BigIntegerField(default=0)
    latency_2 = models.BigIntegerField(default=0)
    latency_3 = models.BigIntegerField(default=0)
    latency_4 = models.BigIntegerField(default=0)
    latency_5 = models.BigIntegerField(default=0)
    latency_6 = models.BigIntegerField(default=0)
    latency_7 = models.BigIntegerField(default=0)
    latency_8 = models.BigIntegerField(default=0)
    latency_9 = models.BigIntegerField(default=0)
    latency_10 = models.BigIntegerField(default=0)
    latency_11 = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class BatchMinute(Counts):
    """One minute of a batch, written in the transactions that commit its results."""

    batch = models.ForeignKey(Batch, models.CASCADE, related_name="minutes")
    minute = models.DateTimeField()
    roll = models.CharField(max_length=32, null=True)  # noqa: DJ001 - null until it is rolled up

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["batch", "minute"], name="one_row_a_batch_and_minute")
        ]
        indexes = [
            models.Index(fields=["minute"], name="minute_is_open", condition=Q(roll=None)),
            models.Index(fields=["roll"], name="minute_of_roll", condition=~Q(roll=None)),
            models.Index(fields=["minute"], name="minute_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.batch_id} {self.minute:%H:%M}"


class TrafficSlice(Counts):
    """Ten minutes of an upstream and model."""

    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="slices")
    model = models.CharField(max_length=255, blank=True)
    start = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["start", "upstream", "model"], name="one_row_a_slice_and_model"
            )
        ]
        indexes = [models.Index(fields=["upstream", "start"], name="slice_of_upstream")]

    def __str__(self) -> str:
        return f"{self.upstream_id} {self.model} {self.start:%H:%M}"


class OwnerHour(Counts):
    """One hour of an account, or of one of its external users."""

    owner = models.CharField(max_length=50)  # both ids in one, since a unique key takes no NULL
    account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    external_user = models.ForeignKey(ExternalUser, models.CASCADE, related_name="+", null=True)
    hour = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["hour", "owner"], name="one_row_an_owner_and_hour")
        ]
        indexes = [
            models.Index(fields=["account", "external_user", "hour"], name="hour_of_owner"),
            # All that the sums over many owners read, so that they read nothing else.
            models.Index(
                fields=["hour", "account", "external_user", "completed", "failed"],
                name="hour_summed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.owner} {self.hour:%d %H:%M}"
