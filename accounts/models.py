"""Account (the tenant), its API keys, and the users it acts for."""

import dataclasses
import datetime
import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Hashable
from typing import Any, Self, cast

from django.db import models
from django.db.models import Count, F, Q
from django.utils import timezone

from api.clock import DatabaseNow, database_now
from api.prepared import Given, Prepared

KEY_PREFIX = "lsk_"
SCOPES = ("files:read", "files:write", "batches:read", "batches:write")
SECRET = re.compile(r"lsk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")
# What whoever found a key knows of its account, in the order of the columns.
KNOWN_OF_ACCOUNT = ["id", "max_stored_bytes", "name", "is_active"]
LAST_USED_RESOLUTION = datetime.timedelta(minutes=1)


class Limited(models.Model):
    """Base of those whose use is limited: without a number there is no limit."""

    max_queued_requests = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Requests of their batches that have no answer yet."
    )
    max_stored_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Of all their files; an upload beyond it is refused."
    )

    class Meta:
        abstract = True

    def limit(self, *, queued_requests: int | None, stored_bytes: int | None) -> None:
        """Set both limits. What is beyond them already stays, and nothing comes to it."""
        type(self)._default_manager.filter(pk=self.pk).update(
            max_queued_requests=queued_requests, max_stored_bytes=stored_bytes
        )


class Account(Limited):
    """A tenant. Keys come and go; what they made belongs to the account.

    Its limits count what belongs to its external users, too.
    """

    name = models.CharField(max_length=200, unique=True)
    is_active = models.BooleanField(
        default=True, help_text="Keys of an account that is not active are refused."
    )
    created_at = models.DateTimeField(default=database_now, editable=False)

    class Meta:
        permissions = [
            ("suspend_account", "Can suspend and reinstate accounts"),
            ("limit_account", "Can set limits of accounts"),
        ]

    def __str__(self) -> str:
        return self.name

    # Mutators

    def suspend(self) -> bool:
        """Refuse its keys from now on; what runs goes on. False if it was suspended already."""
        return bool(type(self).objects.filter(pk=self.pk, is_active=True).update(is_active=False))

    def reinstate(self) -> bool:
        return bool(type(self).objects.filter(pk=self.pk, is_active=False).update(is_active=True))


class ExternalUser(Limited):
    """One user of a caller's own, known by the caller's id for them; made on first use."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="external_users")
    external_id = models.CharField(
        max_length=128, db_index=True
    )  # whatever the account, for operators
    is_active = models.BooleanField(
        default=True, help_text="Nothing new is taken from a user who is not active."
    )
    created_at = models.DateTimeField(default=database_now, editable=False)

    class Meta:
        permissions = [
            ("suspend_externaluser", "Can suspend and reinstate external users"),
            ("limit_externaluser", "Can set limits of external users"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["account", "external_id"], name="one_external_user")
        ]

    def __str__(self) -> str:
        return f"{self.account} / {self.external_id}"

    # Mutators

    def suspend(self) -> bool:
        """Take no new upload or batch from now on; what runs goes on. False if it was suspended already."""
        return bool(type(self).objects.filter(pk=self.pk, is_active=True).update(is_active=False))

    def reinstate(self) -> bool:
        return bool(type(self).objects.filter(pk=self.pk, is_active=False).update(is_active=True))


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whom a row belongs to: an account, and within it one external user or nobody.

    It never widens: an owner without an external user does not see what belongs to one.
    """

    account: Account
    external_user: ExternalUser | None = None

    def limits(self, name: str) -> "list[tuple[Limited, int]]":
        """Whoever of the two had a limit of this name when the row was read, and the limit."""
        both = [one for one in (self.account, self.external_user) if one is not None]
        return [(one, getattr(one, name)) for one in both if getattr(one, name) is not None]

    def locked_limits(self, name: str) -> "list[tuple[Limited, int]]":
        """The same as they are now, in a transaction. Their rows are locked until its end, so that of two who come at
        once the later one counts the earlier one's.
        """
        found: list[tuple[Limited, int]] = []
        for one, _ in self.limits(name):
            rows = type(one)._default_manager.filter(pk=one.pk, **{f"{name}__isnull": False})
            limit = rows.select_for_update(no_key=True).values_list(name, flat=True).first()
            if limit is not None:
                found.append((one, limit))
        return found


class OwnedQuerySet(models.QuerySet[Any]):
    def owned_by(self, owner: Owner) -> Self:
        """Only the rows of exactly this (account, external user) pair."""
        if owner.external_user is None:
            return self.filter(account=owner.account, external_user__isnull=True)
        return self.filter(account=owner.account, external_user=owner.external_user)

    def of(self, holder: Limited) -> Self:
        """All rows of an account, those of its external users too; or all of an external user."""
        field = "account" if isinstance(holder, Account) else "external_user"
        return self.filter(**{field: holder})

    def owners(self) -> dict[str, int]:
        """How many of the rows each owner has."""
        names = ("account__name", "external_user__external_id")
        counted = self.order_by().values_list(*names).annotate(rows=Count("pk"))
        return {f"{account} / {user}" if user else account: rows for account, user, rows in counted}

    def own(self, owner: Owner, pk: str) -> Any:
        """The row of this id if it belongs to exactly this owner, else None."""
        user = owner.external_user
        one = _one_of(cast(Hashable, self.model), user is None)
        return one.first(account=owner.account.pk, user=user and user.pk, pk=pk)


@functools.cache
def _one_of(model: Any, of_nobody: bool) -> Prepared[Any]:
    user = None if of_nobody else Given("user")
    return Prepared(
        lambda: OwnedQuerySet(model).filter(
            account=Given("account"), external_user=user, pk=Given("pk")
        )
    )


class Owned(models.Model):
    """Base of everything a caller can own."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    external_user = models.ForeignKey(
        ExternalUser, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )

    class Meta:
        abstract = True

    @property
    def owner(self) -> Owner:
        return Owner(self.account, self.external_user)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def issue(self, account: Account, name: str, **options: Any) -> tuple["ApiKey", str]:
        """Create a key and return it with its secret, which is kept nowhere and shown only here."""
        prefix = KEY_PREFIX + secrets.token_hex(6)
        secret = f"{prefix}_{secrets.token_urlsafe(32)}"
        key = self.create(
            account=account, name=name, prefix=prefix, digest=digest_of(secret), **options
        )
        return key, secret

    def find(self, secret: str) -> "ApiKey | None":
        """Return the live key of this secret, or None: unknown, revoked, expired, account not active."""
        if not SECRET.fullmatch(secret):
            return None
        found = _key_of.first(prefix=secret[: len(KEY_PREFIX) + 12])
        expected = found.digest if found else "0" * 64
        matches = hmac.compare_digest(digest_of(secret), expected)
        if found is None or not matches:
            return None
        key: ApiKey = found
        key.found_at = found.asked_at or timezone.now()
        account = (found.account_id, found.account_room, found.account_name, found.account_on)
        key.account = Account.from_db(self.db, KNOWN_OF_ACCOUNT, account)
        return key if key.is_live(key.found_at) else None


# One query tells the key, its account and the time: it is asked at every request.
_key_of: Prepared[Any] = Prepared(
    lambda: ApiKey.objects.filter(prefix=Given("prefix")).annotate(
        account_name=F("account__name"),
        account_on=F("account__is_active"),
        account_room=F("account__max_stored_bytes"),
        asked_at=DatabaseNow(),
    )
)


def digest_of(secret: str) -> str:
    """A key holds 256 random bits, so a plain SHA-256 cannot be guessed back."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKey(models.Model):
    """A secret that speaks for an account. Only its digest and its visible prefix are stored."""

    class OnBehalfOf(models.TextChoices):
        FORBIDDEN = "forbidden", "may not send X-On-Behalf-Of"
        ALLOWED = "allowed", "may send X-On-Behalf-Of"
        REQUIRED = "required", "must send X-On-Behalf-Of"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=200)
    prefix = models.CharField(max_length=24, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, help_text="Of: " + ", ".join(SCOPES))
    on_behalf_of = models.CharField(
        max_length=10, choices=OnBehalfOf.choices, default=OnBehalfOf.FORBIDDEN
    )
    created_at = models.DateTimeField(default=database_now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    found_at: datetime.datetime  # the database's time when `find` found it

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        permissions = [("revoke_apikey", "Can revoke API keys")]

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"

    # Mutators

    def revoke(self) -> bool:
        """End the key at once; a key that is revoked stays so. False if it was before."""
        rows = type(self).objects.filter(pk=self.pk, revoked_at__isnull=True)
        revoked = rows.update(revoked_at=database_now())
        self.refresh_from_db(fields=["revoked_at"])
        return bool(revoked)

    def touch(self, now: datetime.datetime) -> None:
        """Note the use, at most once a minute, so that a busy key is not a busy row."""
        stale = now - LAST_USED_RESOLUTION
        if self.last_used_at is None or self.last_used_at < stale:
            type(self).objects.filter(
                Q(last_used_at__isnull=True) | Q(last_used_at__lt=stale), pk=self.pk
            ).update(last_used_at=now)

    # Properties

    def state_at(self, now: datetime.datetime, is_account_active: bool) -> tuple[str, str]:
        """What a badge says of it, and its tone."""
        if self.revoked_at is not None:
            return "revoked", "bad"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired", "idle"
        return ("live", "good") if is_account_active else ("account suspended", "warn")

    def is_live(self, now: datetime.datetime) -> bool:
        expired = self.expires_at is not None and self.expires_at <= now
        return self.revoked_at is None and not expired and self.account.is_active
