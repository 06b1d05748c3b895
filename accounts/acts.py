"""What operators do to keys and accounts, besides making them."""

import datetime
from typing import Any

from django.db.models import Count, QuerySet

from accounts.models import Account, ApiKey, ExternalUser
from api.clock import database_now
from console.acts import Preview, Refused, Verb
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
