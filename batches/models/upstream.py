"""Upstream: a model server that lines are sent to, and which one serves a model."""

from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from accounts.secrets import EncryptedTextField
from api.clock import database_now

ENVIRONMENT = "environment"  # the name of the row that UPSTREAM_BASE_URL stands for


def check_base_url(text: str) -> None:
    """Take any http or https address, host names without a dot too, as inside a cluster."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValidationError("An address such as http://127.0.0.1:8001/v1 is needed.")
    if url.username or url.password:
        raise ValidationError("The key goes into its own field, not into the address.")


class UpstreamQuerySet(models.QuerySet["Upstream"]):
    def sync_environment(self) -> "Upstream | None":
        """Make the row of UPSTREAM_BASE_URL say what the environment says; None when it is not set.

        Called at every start. Whether it is paused stays as it is, unless its address or key has changed.
        """
        if not settings.UPSTREAM_BASE_URL:
            return None
        given = {
            "base_url": settings.UPSTREAM_BASE_URL,
            "api_key": settings.UPSTREAM_API_KEY,
            "limit": settings.UPSTREAM_LIMIT,
            "timeout_seconds": settings.UPSTREAM_TIMEOUT_SECONDS,
        }
        upstream, made = self.get_or_create(name=ENVIRONMENT, defaults=given)
        if not made and any(getattr(upstream, name) != value for name, value in given.items()):
            moved = (upstream.base_url, upstream.api_key) != (given["base_url"], given["api_key"])
            unpaused = {"paused_at": None, "pause_reason": ""} if moved else {}
            for name, value in (given | unpaused).items():
                setattr(upstream, name, value)
            upstream.save(update_fields=[*given, *unpaused])
        return upstream

    def serving(self, model: str) -> "Upstream | None":
        """The upstream for a model: one that names it, else one that takes any; the oldest of equals."""
        takes_any = None
        for upstream in self.order_by("id"):
            if model in upstream.served_models:
                return upstream
            if not upstream.served_models and takes_any is None:
                takes_any = upstream
        return takes_any


class Upstream(models.Model):
    """An OpenAI-compatible server. While it is paused, its lines wait; their window goes on."""

    name = models.CharField(max_length=100, unique=True)
    base_url = models.CharField(
        max_length=500,
        validators=[check_base_url],
        help_text="Such as http://127.0.0.1:8001/v1",
    )
    api_key = EncryptedTextField(blank=True, default="")
    served_models = models.JSONField(
        default=list, blank=True, help_text="The models it serves; an empty list means any."
    )
    limit = models.PositiveIntegerField(
        null=True, blank=True, help_text="Calls in flight over all workers; empty means no limit."
    )
    timeout_seconds = models.PositiveIntegerField(
        default=600, help_text="The whole of one call, from connecting to the last byte."
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    pause_reason = models.CharField(max_length=500, blank=True)
    # What the engines find out: since when nobody gets an answer, and what they got instead.
    down_at = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=500, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=database_now, editable=False)

    objects = UpstreamQuerySet.as_manager()

    class Meta:
        permissions = [
            ("pause_upstream", "Can pause and resume upstreams"),
            ("test_upstream", "Can test upstreams with a real call"),
        ]

    def __str__(self) -> str:
        return self.name

    def url(self, endpoint: str) -> str:
        """Where the lines of an endpoint go: `/v1/x` is `/x` under the base URL, which may leave out its /v1."""
        base = self.base_url.rstrip("/")
        if not urlsplit(base).path:
            base += "/v1"
        return base + endpoint.removeprefix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        """What every call to it bears."""
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    # Mutators

    def pause(self, reason: str) -> bool:
        """Send nothing more; False if it was paused already."""
        rows = type(self).objects.filter(pk=self.pk, paused_at__isnull=True)
        return bool(rows.update(paused_at=database_now(), pause_reason=reason[:500]))

    def resume(self) -> bool:
        rows = type(self).objects.filter(pk=self.pk, paused_at__isnull=False)
        return bool(rows.update(paused_at=None, pause_reason=""))

    @classmethod
    def note_down(cls, pk: int, reason: str) -> None:
        """It answers nobody, as far as one engine knows."""
        now = database_now()
        cls.objects.filter(pk=pk).update(last_error=reason[:500], last_error_at=now)
        cls.objects.filter(pk=pk, down_at__isnull=True).update(down_at=now)

    @classmethod
    def note_up(cls, pk: int) -> None:
        """It has answered somebody."""
        cls.objects.filter(pk=pk, down_at__isnull=False).update(down_at=None)
