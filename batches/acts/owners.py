"""What operators do to all the batches of an account, or of an external user."""

from typing import Any

from django.db.models import Count, QuerySet, Sum

from accounts.models import Account, ExternalUser
from batches import lifecycle
from batches.acts.told import OPEN, OWNERS, STOPPABLE
from batches.models import Batch
from console.acts import Preview, Refused, Verb
from console.models import Act
from console.text import number, plural

MOST_AT_ONCE = 1000  # batches, all in one transaction


def _batches_of(owners: QuerySet[Any] | list[Any], model: type[Account | ExternalUser]) -> Any:
    field = "account" if model is Account else "external_user"
    return Batch.objects.filter(**{f"{field}__in": owners}, status__in=STOPPABLE)


def _cancel_all(owner: Account | ExternalUser, act: Act) -> str:
    """Cancel each batch of the owner that has not ended; one that ends meanwhile is left as it is."""
    cancelled = 0
    batches = list(_batches_of([owner], type(owner))[: MOST_AT_ONCE + 1])
    if len(batches) > MOST_AT_ONCE:
        raise Refused(
            f"it has more than {number(MOST_AT_ONCE)} active batches: cancel them in the list of batches"
        )
    for batch in batches:
        try:
            lifecycle.cancel(batch, actor=act.operator, reason=act.reason)
        except Batch.Conflict:
            continue
        cancelled += 1
    if not cancelled:
        raise Refused("it has no active batches")
    return f"{plural(cancelled, 'batch', 'batches')} cancelled"


def _told(owners: QuerySet[Any]) -> Preview:
    batches = _batches_of(owners.order_by(), owners.model)
    field = "account" if owners.model is Account else "external_user"
    found = batches.order_by().aggregate(
        batches=Count("pk"), lines=Sum(OPEN, default=0), busy=Count(field, distinct=True)
    )
    idle = owners.count() - found["busy"]
    return Preview(
        sums={
            "active batches, all of which are cancelled": found["batches"],
            "lines that will not run": found["lines"],
        },
        owners=batches.owners(OWNERS),
        skipped={"no active batches": idle} if idle else {},
    )


def _verb(model: type[Account | ExternalUser], whose: str) -> Verb:
    return Verb(
        name=f"cancel all batches of {whose}",
        button="Cancel all batches",
        asks="Cancel all active batches of {objects}",
        done="relieved of its batches",
        explains="Every batch of theirs that has not ended is cancelled. No new call is made; what is done is kept. New "
        "batches are still taken: suspend them to prevent that.",
        model=model,
        permission="batches.cancel_batch",
        do=_cancel_all,
        preview=_told,
        is_harmful=True,
    )


CANCEL_OF_ACCOUNT = _verb(Account, "accounts")
CANCEL_OF_USER = _verb(ExternalUser, "external users")
