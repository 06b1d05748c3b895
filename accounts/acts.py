"""What operators do to keys and accounts, besides making them."""

import datetime
from typing import Any

from django import forms
from django.db.models import Count, QuerySet

from accounts.models import Account, ApiKey, ExternalUser
from api.clock import database_now
from console.acts import Preview, Questions, Refused, Verb
from console.models import Act

LATELY = datetime.timedelta(days=1)


def _revoke(key: ApiKey, act: Act) -> None:
    if not key.revoke():
        raise Refused("it was revoked already")


def _told_of_keys(keys: QuerySet[Any]) -> Preview:
    live = keys.filter(revoked_at__isnull=True)
    used = live.filter(last_used_at__gt=database_now() - LATELY).count()
    by_account = live.order_by().values_list("account__name").annotate(keys=Count("pk"))
    revoked = keys.filter(revoked_at__isnull=False).count()
    return Preview(
        sums={"used in the last 24 hours": used},
        owners=dict(by_account),
        skipped={"revoked already": revoked} if revoked else {},
    )


REVOKE = Verb(
    name="revoke API keys",
    button="Revoke",
    asks="Revoke {objects}",
    done="revoked",
    explains="From this moment on every request with such a key is refused. It cannot be undone: make a new key "
    "instead. Batches that are running go on.",
    model=ApiKey,
    permission="accounts.revoke_apikey",
    do=_revoke,
    preview=_told_of_keys,
    applies=lambda key: key.revoked_at is None,
    is_harmful=True,
)


def _suspend(one: Account | ExternalUser, act: Act) -> None:
    if not one.suspend():
        raise Refused("it was suspended already")


def _reinstate(one: Account | ExternalUser, act: Act) -> None:
    if not one.reinstate():
        raise Refused("it was not suspended")


def _skipped(others: int, *, suspended: bool) -> dict[str, int]:
    return {"not suspended" if suspended else "suspended already": others} if others else {}


def _told_of_accounts(accounts: QuerySet[Any], *, suspended: bool) -> Preview:
    affected = accounts.order_by().exclude(is_active=suspended)
    keys = ApiKey.objects.filter(account__in=affected, revoked_at__isnull=True).count()
    others = accounts.filter(is_active=suspended).count()
    return Preview(
        sums={"API keys that work again" if suspended else "API keys that are refused": keys},
        skipped=_skipped(others, suspended=suspended),
    )


SUSPEND = Verb(
    name="suspend accounts",
    button="Suspend",
    asks="Suspend {objects}",
    done="suspended",
    explains="Every API key of the account is refused until it is reinstated. Batches that are running go on.",
    model=Account,
    permission="accounts.suspend_account",
    do=_suspend,
    preview=lambda accounts: _told_of_accounts(accounts, suspended=False),
    applies=lambda account: account.is_active,
    is_harmful=True,
)
REINSTATE = Verb(
    name="reinstate accounts",
    button="Reinstate",
    asks="Reinstate {objects}",
    done="reinstated",
    explains="The API keys of the account work again.",
    model=Account,
    permission="accounts.suspend_account",
    do=_reinstate,
    preview=lambda accounts: _told_of_accounts(accounts, suspended=True),
    applies=lambda account: not account.is_active,
)


def _told_of_users(users: QuerySet[Any], *, suspended: bool) -> Preview:
    others = users.filter(is_active=suspended).count()
    affected = users.order_by().exclude(is_active=suspended).values_list("account__name")
    return Preview(
        owners=dict(affected.annotate(users=Count("pk"))),
        skipped=_skipped(others, suspended=suspended),
    )


SUSPEND_USER = Verb(
    name="suspend external users",
    button="Suspend",
    asks="Suspend {objects}",
    done="suspended",
    explains="No new upload and no new batch is taken for such a user: the API answers 403, user_suspended. What there "
    "is can still be read, cancelled and deleted. Batches that are running go on.",
    model=ExternalUser,
    permission="accounts.suspend_externaluser",
    do=_suspend,
    preview=lambda users: _told_of_users(users, suspended=False),
    applies=lambda user: user.is_active,
    is_harmful=True,
)
REINSTATE_USER = Verb(
    name="reinstate external users",
    button="Reinstate",
    asks="Reinstate {objects}",
    done="reinstated",
    explains="Uploads and batches are taken again.",
    model=ExternalUser,
    permission="accounts.suspend_externaluser",
    do=_reinstate,
    preview=lambda users: _told_of_users(users, suspended=True),
    applies=lambda user: not user.is_active,
)


# Limits


MOST_OF_A_LIMIT = 2**53 - 1  # what JSON and JavaScript still count exactly


class LimitsForm(Questions):
    """Both limits at once; with one row, those that it has stand there already."""

    queued_requests = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_OF_A_LIMIT,
        label="Queued requests",
        help_text="Requests of their batches that have no answer yet. Empty: no limit.",
    )
    stored_bytes = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=MOST_OF_A_LIMIT,
        label="Stored bytes",
        help_text="Of all their files, results too. Empty: no limit.",
    )

    def about(self, rows: QuerySet[Any]) -> None:
        found = list(rows.values_list("max_queued_requests", "max_stored_bytes")[:2])
        if len(found) == 1:
            now = dict(zip(("queued_requests", "stored_bytes"), found[0], strict=True))
            self.initial = {**now, **(self.initial or {})}


def _limit(one: Account | ExternalUser, act: Act) -> str:
    limits = act.parameters
    one.limit(queued_requests=limits["queued_requests"], stored_bytes=limits["stored_bytes"])
    names = {"queued_requests": "queued requests", "stored_bytes": "stored bytes"}
    told = [f"{limits[key]:,} {name}" for key, name in names.items() if limits[key] is not None]
    return f"limited to {' and '.join(told)}" if told else "no limit any more"


LIMITS_EXPLAINED = (
    "A batch whose requests do not fit fails while it is checked, with token_limit_exceeded; an upload that does not "
    "fit gets 403, storage_limit_reached. What there is stays, and goes on."
)
LIMIT = Verb(
    name="limit accounts",
    button="Limits",
    asks="Set the limits of {objects}",
    done="limited",
    explains=f"They count what belongs to external users of the account, too. {LIMITS_EXPLAINED}",
    model=Account,
    permission="accounts.limit_account",
    do=_limit,
    form=LimitsForm,
)
LIMIT_USER = Verb(
    name="limit external users",
    button="Limits",
    asks="Set the limits of {objects}",
    done="limited",
    explains=LIMITS_EXPLAINED,
    model=ExternalUser,
    permission="accounts.limit_externaluser",
    do=_limit,
    form=LimitsForm,
)
