"""The states of a batch: which moves there are, and what each leaves behind."""

import datetime
import itertools
import re
from typing import Any

import pytest

from accounts.models import Account
from api.clock import database_now
from batches.models import TERMINAL, TRANSITIONS, Batch, Status, Transition
from batches.models import batch as batch_module
from tests.batches.factories import HOUR, reach, request_lines, submit
from tests.support.processes import ROOT

V, F, P, Z = Status.VALIDATING, Status.FAILED, Status.IN_PROGRESS, Status.FINALIZING
C, E, X, D = Status.COMPLETED, Status.EXPIRED, Status.CANCELLING, Status.CANCELLED
LEGAL = {
    V: {P, F, X, E},
    P: {Z, X, E},
    Z: {C},
    X: {D},
    F: {V},
    C: {P},
    E: {V, P},
    D: {V, P},
}
RUNNING = {was: to for was, to in LEGAL.items() if was not in TERMINAL}
CONCEPTS = ROOT / "docs" / "concepts.md"


def next_attempt(batch: Batch) -> dict[str, Any]:
    return {"attempt": batch.attempt + 1} if batch.is_terminal else {}


def row(batch: Batch) -> dict[str, Any]:
    return Batch.objects.values().get(pk=batch.pk)


@pytest.fixture
def batch(account: Account) -> Batch:
    return submit(account, request_lines(1))


@pytest.mark.parametrize(("was", "to"), list(itertools.product(Status, Status)))
def test_a_move_is_legal_or_refused_without_a_trace(batch: Batch, was: Status, to: Status) -> None:
    reach(batch, was)
    before, moves = row(batch), batch.history.count()

    if to in LEGAL[was]:
        batch.move(to, actor="me", reason="why", **next_attempt(batch))
        assert row(batch)["status"] == to
        last = Transition.objects.latest("id")
        assert (last.from_status, last.to_status, last.actor) == (was, to, "me")
        assert (last.reason, last.attempt) == ("why", batch.attempt)
        assert batch.history.count() == moves + 1
    else:
        with pytest.raises(Batch.Conflict) as conflict:
            batch.move(to, actor="me", **next_attempt(batch))
        assert conflict.value.status == was
        assert row(batch) == before
        assert batch.history.count() == moves


def drawn_moves(text: str) -> dict[Status, set[Status]]:
    """Read lines such as `a, b -> c or d -> e`."""
    moves: dict[Status, set[Status]] = {status: set() for status in Status}
    for line in text.splitlines():
        stages = [re.findall(r"\w+", stage.replace(" or ", " ")) for stage in line.split("->")]
        for starts, ends in itertools.pairwise(stages):
            for start, end in itertools.product(starts, ends):
                moves[Status(start)].add(Status(end))
    return moves


def test_the_table_the_docstring_and_the_documents_agree() -> None:
    docstring = [
        line.partition(":")[0] for line in (Batch.__doc__ or "").splitlines() if "->" in line
    ]
    rows = re.findall(
        r"^\| ([a-z_, ]+) \| ([a-z_, ]+?)(?:, with .*?)? \|", CONCEPTS.read_text(), re.MULTILINE
    )
    documents = [f"{start} -> {end}" for start, end in rows if start != "from"]

    assert {was: set(to) for was, to in TRANSITIONS.items()} == LEGAL
    for drawn in (drawn_moves("\n".join(docstring)), drawn_moves("\n".join(documents))):
        # Both draw the ways out of all ends as one.
        assert {was: drawn[was] for was in drawn if was not in TERMINAL} == RUNNING
        assert set().union(*(drawn[was] for was in TERMINAL)) == {V, P}


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_only_the_next_attempt_leaves_an_end(batch: Batch, status: Status) -> None:
    reach(batch, status)

    with pytest.raises(Batch.Conflict):
        batch.move(next(iter(LEGAL[status])), actor="me")
    assert row(batch)["status"] == status


def test_an_attempt_does_not_change_before_the_end(batch: Batch) -> None:
    with pytest.raises(Batch.Conflict):
        batch.move(P, actor="me", attempt=2)
    assert row(batch)["attempt"] == 1


def test_the_loser_of_two_changes_nothing(batch: Batch) -> None:
    reach(batch, P)
    rival = Batch.objects.get(pk=batch.pk)
    rival.move(X, actor="rival")
    before = row(batch)

    with pytest.raises(Batch.Conflict) as conflict:
        batch.move(Z, actor="me", total=99)
    assert conflict.value.status == X
    assert row(batch) == before
    assert list(batch.history.values_list("actor", flat=True))[-1] == "rival"
    assert batch.status == X  # the loser knows how things stand


def test_a_move_starts_from_where_the_batch_really_is(batch: Batch) -> None:
    Batch.objects.get(pk=batch.pk).move(P, actor="rival")

    batch.move(X, actor="me")
    last = Transition.objects.latest("id")
    assert (last.from_status, last.to_status) == (P, X)


def test_a_move_of_an_earlier_attempt_is_refused(batch: Batch) -> None:
    stale = Batch.objects.get(pk=reach(batch, P).pk)
    for to in (Z, C):
        batch.move(to, actor="rival")
    batch.move(P, actor="rival", attempt=2)

    with pytest.raises(Batch.Conflict):
        stale.move(X, actor="me")
    assert row(batch)["status"] == P


@pytest.mark.parametrize("status", Status)
def test_the_input_is_held_until_the_end(batch: Batch, status: Status) -> None:
    reach(batch, status)
    held = None if status in TERMINAL else batch.input_file_id
    assert row(batch)["held_file_id"] == held


@pytest.mark.parametrize("status", Status)
def test_each_state_has_the_stamp_of_its_move(batch: Batch, status: Status) -> None:
    reach(batch, status)

    expected = {move.to_status: move.at for move in batch.history.all()}
    for stamped in set(Status) - {V}:
        assert row(batch)[f"{stamped.value}_at"] == expected.get(stamped)


def test_a_move_frees_the_step(batch: Batch) -> None:
    assert batch.claim_step(60)
    batch.move(P, actor="test")
    assert row(batch)["step_lease_expires_at"] is None


def test_stamps_stay_in_order_when_the_clock_goes_back(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(batch, P)
    monkeypatch.setattr(batch_module, "database_now", lambda: database_now() - HOUR)
    batch = Batch.objects.get(pk=batch.pk)

    batch.move(Z, actor="test")
    assert batch.in_progress_at is not None
    assert batch.in_progress_at <= row(batch)["finalizing_at"]


def test_a_step_has_one_owner_until_its_lease_ends(batch: Batch) -> None:
    rival = Batch.objects.get(pk=batch.pk)

    assert batch.claim_step(60)
    assert not rival.claim_step(60)
    assert batch.renew_step(-60)
    assert rival.claim_step(60)
    rival.release_step()
    assert batch.claim_step(60)


def test_a_step_of_a_batch_that_has_moved_on_is_lost(batch: Batch) -> None:
    stale = Batch.objects.get(pk=batch.pk)
    assert stale.claim_step(60)
    batch.move(P, actor="rival")
    lease = database_now() + datetime.timedelta(seconds=60)
    Batch.objects.filter(pk=batch.pk).update(step_lease_expires_at=lease)

    assert not stale.renew_step(60)
    stale.release_step()
    assert row(batch)["step_lease_expires_at"] == lease
