"""Find batches by what an operator types: an id, an owner, or something of the metadata. Each way is one index's.

A search that joins, or that asks for one thing or the other, reads all of a million rows on one database or the other.
So each way is asked apart for its newest batches, all ways in one question, and the list shows those.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import F, IntegerField, QuerySet, Value

from accounts.models import Account, ExternalUser
from batches.models import Batch, MetadataPair
from console.pages import begins_with

MOST_FOUND = 1000  # batches, the newest of them
MOST_OWNERS = 10  # of each kind, of which a text may be the beginning
NEWEST = ("-created_at", "-id")


def found(text: str) -> list[str]:
    """The ids of the newest batches, at most MOST_FOUND, that a text means."""
    if text.startswith("batch_"):
        parts: list[QuerySet[Any]] = [Batch.objects.filter(begins_with("pk", text)).order_by()]
    else:
        parts = [*_of_owners(text), *_of_metadata(text)]
    return newest_of(parts)


def newest_of(parts: Sequence[QuerySet[Any]]) -> list[str]:
    """The ids of the newest batches of several sets, each in its order and at most MOST_FOUND; of pairs, their batches'."""
    limited = [
        part.values_list("pk" if part.model is Batch else "batch", "created_at")[:MOST_FOUND]
        for part in parts
    ]
    rows = set(together(limited)) if limited else set()
    ordered = sorted(rows, key=lambda row: (row[1], row[0]), reverse=True)
    return list(dict.fromkeys(pk for pk, _ in ordered))[:MOST_FOUND]


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


def together(parts: Sequence[QuerySet[Any, Any]]) -> list[tuple[Any, ...]]:
    """The rows of several questions, asked as one. Each may have its own order and limit, which a union may not."""
    asked = [part.query.sql_with_params() for part in parts]
    apart = [f"SELECT * FROM ({sql}) AS part_{n}" for n, (sql, _) in enumerate(asked)]  # noqa: S608 - Django's own
    with connection.cursor() as cursor:
        values = [value for _, values in asked for value in values]
        cursor.execute(" UNION ALL ".join(apart), values)
        return list(cursor.fetchall())
