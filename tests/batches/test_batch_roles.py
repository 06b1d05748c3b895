"""Each button of a batch's page, pressed by each role: allowed, or refused with nothing changed."""

from typing import Any

import pytest

from accounts.models import Account
from batches import acts, lifecycle, results
from batches.models import Batch
from console.acts import Verb
from console.models import Act
from console.parts import page_of
from tests.batches.factories import run, start
from tests.console.operators import in_role, logged_in

RUNNING = (acts.PAUSE, acts.RESUME, acts.PRIORITIZE, acts.EXPIRE, acts.CANCEL)
ENDED = (acts.REQUEUE, acts.REQUEUE_CAUSES, acts.REQUEUE_LINES, acts.REQUEUE_ALL)
MAY_ACT = {"viewer": False, "operator": True, "auditor": False, "admin": True}
ANSWERS = {
    acts.PRIORITIZE: {"with-priority": "high"},
    acts.REQUEUE_CAUSES: {"with-causes": ["http_400"]},
    acts.REQUEUE_LINES: {"with-lines": "1"},
}


def ready_for(verb: Verb, account: Account) -> Batch:
    """A batch to which the verb applies."""
    batch = run(start(account, 2), failing={"0"}, most=0 if verb in RUNNING else None)
    if verb in ENDED:
        results.finalize(batch.pk)
    if verb is acts.RESUME:
        lifecycle.pause(batch, actor="test")
    batch.refresh_from_db()
    assert verb.applies(batch)
    return batch


def row_of(batch: Batch) -> dict[str, Any]:
    return Batch.objects.values().get(pk=batch.pk)


@pytest.mark.parametrize("verb", [*RUNNING, *ENDED], ids=lambda verb: verb.slug)
@pytest.mark.parametrize("role", MAY_ACT)
def test_a_button_works_for_those_who_may(role: str, verb: Verb, account: Account) -> None:
    batch, client = ready_for(verb, account), logged_in(in_role(role))
    before = row_of(batch)
    url = page_of(batch).replace("/change/", f"/do/{verb.slug}/")
    is_offered = url in client.get(page_of(batch)).content.decode()
    question = client.get(url)

    answer = client.post(url, {"token": "t", "reason": "because"} | ANSWERS.get(verb, {}))

    may = MAY_ACT[role]
    assert is_offered is may
    assert question.status_code == (200 if may else 403)
    assert answer.status_code == (302 if may else 403)
    assert (row_of(batch) != before) is may
    acted = Act.objects.exclude(verb="read error messages")
    assert acted.count() == int(may)
    assert all((act.done, act.reason) == (1, "because") for act in acted)
