"""Find batches by what an operator types: an id, an owner, or something of the metadata. Each way is one index's.

`console.finding` says why each way is asked apart.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import F, IntegerField, QuerySet, Value

from accounts.models import Account, ExternalUser
from accounts.pages import MOST_OWNERS
from batches.models import Batch, MetadataPair
from console.finding import newest, together
from console.pages import begins_with

NEWEST = ("-created_at", "-id")


def found(text: str) -> list[str]:
    """The ids of the newest batches, that a text means."""
    if text.startswith("batch_"):
        parts: list[QuerySet[Any]] = [Batch.objects.filter(begins_with("pk", text)).order_by()]
    else:
        parts = [*_of_owners(text), *_of_metadata(text)]
    return newest_of(parts)


def newest_of(parts: Sequence[QuerySet[Any]]) -> list[str]:
    """The ids of the newest batches of several sets, each in its order; of pairs, their batches'."""
    return newest(
        [part.values_list("pk" if part.model is Batch else "batch", "created_at") for part in parts]
    )


def _of_owners(text: str) -> list[QuerySet[Any]]:
    nobody = Value(0, IntegerField())
    accounts = Account.objects.filter(begins_with("name", text)).annotate(of=F("pk"), user=nobody)
    users = ExternalUser.objects.filter(begins_with("external_id", text))
    owners = together(
        [
            accounts.order_by().values_list("of", "user")[:MOST_OWNERS],
            users.order_by().values_list("account_id", "pk")[:MOST_OWNERS],
        ]
    )
    return [_of_owner(account, user) for account, user in owners]


def _of_owner(account: int, user: int) -> QuerySet[Any]:
    of_account = Batch.objects.filter(account=account).order_by(*NEWEST)
    return of_account.filter(external_user=user) if user else of_account


def _of_metadata(text: str) -> list[QuerySet[Any]]:
    """A value, or a pair as `key=value`; those with exactly this one, the newest first, then longer ones."""
    pairs = MetadataPair.objects.all()
    key, is_pair, value = text.partition("=")
    ways: list[QuerySet[Any]] = [
        pairs.filter(value=text).order_by("-created_at"),
        pairs.filter(begins_with("value", text)),
    ]
    if is_pair:
        ways.append(pairs.filter(key=key, value=value).order_by("-created_at"))
        ways.append(pairs.filter(begins_with("value", value), key=key))
    return ways
