"""What operators do to all the batches of an account, or of an external user."""

from typing import Any

from django.db.models import Count, QuerySet, Sum

from accounts.models import Account, ExternalUser
from batches import lifecycle
from batches.acts.batches import CANCEL
from batches.acts.told import STOPPABLE
from batches.models import OPEN_LINES, Batch
from console.acts import By, Preview, Refused, Verb, record
from console.models import Act
from console.text import number, plural

MOST_AT_ONCE = 1000  # batches, all in one transaction
NONE = "no batches to cancel"


def _batches_of(owners: QuerySet[Any] | list[Any], model: type[Account | ExternalUser]) -> Any:
    field = "account" if model is Account else "external_user"
    return Batch.objects.filter(**{f"{field}__in": owners}, status__in=STOPPABLE)


def _cancel_all(owner: Account | ExternalUser, act: Act) -> str:
    """Cancel each batch of the owner that may still call a line; one that moves on meanwhile is left as it is."""
    cancelled = []
    batches = list(_batches_of([owner], type(owner))[: MOST_AT_ONCE + 1])
    if len(batches) > MOST_AT_ONCE:
        raise Refused(f"it has {_too_many()}")
    for batch in batches:
        try:
            lifecycle.cancel(batch, actor=act.operator, reason=act.reason)
        except Batch.Conflict:
            continue
        cancelled.append(batch)
    if not cancelled:
        raise Refused(f"it has {NONE}")
    # The log of each batch has it, too; in the transaction of the act, so that neither is there alone.
    record(
        By(act.operator, act.user_id, act.address),
        CANCEL.name,
        *cancelled,
        outcome=CANCEL.done,
        reason=act.reason,
        parameters={"part of": f"{act.verb}: {owner}"},
    )
    return f"{plural(len(cancelled), 'batch', 'batches')} cancelled"


def _too_many() -> str:
    return f"more than {number(MOST_AT_ONCE)} batches to cancel: do it in the list of batches"


def _told(owners: QuerySet[Any]) -> Preview:
    batches = _batches_of(owners.order_by(), owners.model).order_by()
    field = "account" if owners.model is Account else "external_user"
    found = batches.values_list(field).annotate(
        batches=Count("pk"), lines=Sum(OPEN_LINES, default=0)
    )
    busy = {owner: (count, lines) for owner, count, lines in found}
    beyond = {owner for owner, (count, _) in busy.items() if count > MOST_AT_ONCE}
    skipped = {NONE: owners.count() - len(busy), _too_many(): len(beyond)}
    able = [counts for owner, counts in busy.items() if owner not in beyond]
    return Preview(
        sums={
            "batches, all of which are cancelled": sum(count for count, _ in able),
            "lines that will not run": sum(lines for _, lines in able),
        },
        owners=batches.exclude(**{f"{field}__in": beyond}).owners(),
        skipped={why: count for why, count in skipped.items() if count},
    )


def _verb(model: type[Account | ExternalUser], whose: str) -> Verb:
    return Verb(
        name=f"cancel all batches of {whose}",
        button="Cancel all batches",
        asks="Cancel all active batches of {objects}",
        done="cleared of active batches",
        explains="Every batch of theirs that is validating or in progress is cancelled: no new call is made, and what is "
        "done is kept. One that is finalizing has nothing left to cancel. New batches are still taken: suspend them "
        "to prevent that.",
        model=model,
        permission="batches.cancel_batch",
        do=_cancel_all,
        preview=_told,
        is_harmful=True,
    )


CANCEL_OF_ACCOUNT = _verb(Account, "accounts")
CANCEL_OF_USER = _verb(ExternalUser, "external users")
