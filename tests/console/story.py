"""Two batches with a past, for the pages that tell of it: one that has ended with failures, one that runs."""

from accounts.models import Account, Owner
from api.clock import database_now
from batches import acts as verbs
from batches import results
from batches.models import Batch, Shard, Upstream
from console import acts
from console.acts import By
from tests.batches.factories import LEASE, make_engine
from tests.console.lives import begin, call, move_back, questions

ANNA = By("operator anna", None, "192.0.2.17")
LINES = 1200


def tell() -> list[Batch]:
    """The batch that has ended and the one that runs."""
    owner = Owner(Account.objects.get(name="acme-prod"))
    upstream = Upstream.objects.get(name="vllm")
    ended, running = (
        move_back(call(begin(owner, questions(LINES), upstream, metadata=metadata), 2 / 3), 40)
        for metadata in (
            {"description": "nightly evaluation", "team": "search"},
            {"description": "doc tagging"},
        )
    )
    _was_cancelled(ended)
    engine, now = make_engine(), database_now()
    for shard in running.shards.filter(state=Shard.State.WAITING)[:1]:
        assert shard.claim(engine, LEASE, now)
    return [Batch.objects.get(pk=batch.pk) for batch in (ended, running)]


def _was_cancelled(batch: Batch) -> None:
    """By an operator, who paused it before."""
    only = Batch.objects.filter(pk=batch.pk)
    for verb, reason in (
        (verbs.PAUSE, "the upstream is too slow"),
        (verbs.CANCEL, "ticket 4711: wrong prompt"),
    ):
        acts.carry_on(acts.begin(verb, ANNA, only, reason=reason))
    results.finalize(batch.pk)
