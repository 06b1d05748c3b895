"""The operator log, which only grows, and the failed logins that are counted against a caller."""

import datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from api.clock import database_now

LABEL_CHARS = 300
NAME_CHARS = 200


class ActQuerySet(models.QuerySet["Act"]):
    def unfinished(self) -> Self:
        """Acts that are not carried out to their end."""
        return self.filter(finished_at__isnull=True)


class Act(models.Model):
    """One thing an operator did, to any number of objects of one kind: who, when, from where, what and why.

    Only its counts change after it is written, as its objects are dealt with; then never again.
    """

    token = models.CharField(
        max_length=64, unique=True
    )  # of the confirm page: sent twice is done once
    at = models.DateTimeField(default=database_now)
    # The name is kept as text, for a user can be removed and the log cannot.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, related_name="acts", null=True, blank=True
    )
    operator = models.CharField(max_length=NAME_CHARS)  # "operator anna", or "command root@host"
    address = models.CharField(max_length=45, blank=True)
    verb = models.CharField(max_length=100)
    reason = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ActQuerySet.as_manager()

    class Meta:
        verbose_name = "act"
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=Q(total__gte=F("done") + F("refused")), name="act_counts_fit"
            )
        ]
        indexes = [
            models.Index(fields=["-at", "-id"], name="act_newest"),
            models.Index(fields=["verb", "-at", "-id"], name="act_by_verb"),
            models.Index(fields=["operator", "-at", "-id"], name="act_by_operator"),
            models.Index(
                fields=["at"], name="act_unfinished", condition=Q(finished_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.operator}: {self.verb}"

    @property
    def left(self) -> int:
        """How many objects are still to be dealt with."""
        return self.total - self.done - self.refused


class ActObjectQuerySet(models.QuerySet["ActObject"]):
    def of(self, row: models.Model) -> Self:
        """What was done to one row, and what came of it; the latest first."""
        found = self.filter(kind=kind_of(type(row)), object_id=str(row.pk))
        return found.select_related("act").order_by("-id")

    def waiting(self) -> Self:
        """Those nobody has dealt with yet, in their order."""
        return self.filter(outcome="").order_by("id")


class ActObject(models.Model):
    """One object of an act. Its outcome is empty until it is dealt with, and is then written once."""

    act = models.ForeignKey(Act, models.PROTECT, related_name="affected")
    kind = models.CharField(max_length=50)  # "batch", "api key" ...
    object_id = models.CharField(max_length=64)
    label = models.CharField(max_length=LABEL_CHARS, db_index=True)  # what people know it by
    outcome = models.TextField(blank=True)  # what happened, or why it was refused
    is_refusal = models.BooleanField(default=False)
    at = models.DateTimeField(null=True)

    objects = ActObjectQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["act", "object_id"], name="one_object_an_act")
        ]
        indexes = [
            models.Index(fields=["object_id", "kind", "-id"], name="acts_of_object"),
            models.Index(fields=["act", "id"], name="act_waiting", condition=Q(outcome="")),
            models.Index(fields=["act", "-is_refusal", "id"], name="objects_of_act"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.label}"


def kind_of(model: type[models.Model]) -> str:
    """What the log calls the rows of a model: "batch", "api key"."""
    return str(model._meta.verbose_name)


class LoginFailure(models.Model):
    """A login that has failed, or that is being tried at this moment. The name is digested: people mistype passwords."""

    at = models.DateTimeField(default=database_now)
    name_digest = models.CharField(max_length=64)
    origin = models.CharField(max_length=64)  # an address, or the network of an IPv6 one

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["origin", "name_digest", "at"], name="login_failures"),
            models.Index(fields=["at"], name="login_failures_age"),
        ]

    def __str__(self) -> str:
        return f"{self.origin}, {self.at:{'%Y-%m-%d %H:%M:%S'}}"

    @staticmethod
    def since(seconds: float) -> datetime.datetime:
        """The database's time so many seconds ago."""
        return database_now() - datetime.timedelta(seconds=seconds)
