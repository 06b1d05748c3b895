"""F17: a line that kills its worker is found and given up alone; its neighbours, in its shard and beside it, finish."""

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.models import Account
from api.clock import database_now
from batches import journal, results
from batches.claims import Claim, Hand, claim_shards
from batches.executor.engine import Engine as Pump
from batches.executor.transport import Answer
from batches.executor.work import Work
from batches.models import Batch, Engine, Shard, Status
from batches.models.shard import ALONE_AFTER, GIVEN_UP_AFTER, ONE_BY_ONE_AFTER
from batches.verification import verify
from tests.batches.executor.scripted import (
    Scripted,
    options,
    reply,
    run,
    running,
    source,
    work,
)
from tests.batches.factories import (
    CHAT,
    HOUR,
    answers,
    claimed,
    codes_of,
    ids_of,
    make_engine,
    request_line,
    start,
)
from tests.batches.test_execution import model_server
from tests.factories import AccountFactory
from tests.support.apart import start as start_apart

pytestmark = pytest.mark.django_db(transaction=True)
MOST_TURNS = 3 * GIVEN_UP_AFTER
# A turn in a process that dies when the poisonous line is called.
TURN = """
import os, signal
from batches.execution import run_turn
from batches.executor.caller import Caller

call = Caller.call

async def die_of_poison(self, work, line):
    if b"poison" in line.request.body:
        os.kill(os.getpid(), signal.SIGKILL)
    return await call(self, work, line)

Caller.call = die_of_poison
run_turn(lambda: False)
"""


def turn_apart() -> int:
    process = start_apart(TURN)
    process.communicate(timeout=60)
    return process.returncode


def lapse() -> None:
    """Let the lease of everything that is held have ended."""
    for held in (Shard.objects.filter(state=Shard.State.RUNNING), Engine.objects.all()):
        held.update(lease_expires_at=database_now() - HOUR)


def die_of(shard: Shard, times: int = 1, *, calling: bool = True) -> Shard:
    """Claim the shard and die, so many times, in the middle of a call or between two."""
    for _ in range(times):
        claimed(shard)
        Shard.objects.filter(pk=shard.pk).update(calling=calling)
        lapse()
        shard.refresh_from_db()
    return shard


@pytest.fixture
def shard(account: Account) -> Shard:
    return start(account, 3).shards.get()


def test_the_line_is_given_up_and_its_neighbours_finish(
    account: Account, settings: Settings
) -> None:
    settings.BATCH_SHARD_LINES = 6
    poison = '{"model": "m", "messages": ["poison"]}'
    content = b"".join(request_line(str(n), poison if n == 8 else "") for n in range(18))
    with model_server(lambda call: reply()) as server:
        batch = start(account, content)
        other = start(AccountFactory(), 6)
        turns = 0
        while Batch.objects.filter(status=Status.IN_PROGRESS).exists():
            turns += 1
            assert turns <= MOST_TURNS
            turn_apart()
            lapse()

    assert turns == GIVEN_UP_AFTER + 1
    for one in (batch, other):
        results.finalize(one.pk)
        one.refresh_from_db()
        assert (one.status, verify(one)) == (Status.COMPLETED, [])
    assert other.completed == 6
    assert ids_of(batch.output_file_id) == [str(n) for n in range(18) if n != 8]
    assert ids_of(batch.error_file_id) == ["8"]
    assert codes_of(batch.error_file_id) == ["worker_crash"]
    assert {call.path for call in server.calls} == {CHAT}


def claim(hand: Hand = Hand()) -> list[Claim]:  # noqa: B008 - it is frozen
    return claim_shards(make_engine(), 1000, hand)


def test_after_deaths_in_company_a_shard_comes_alone(account: Account, shard: Shard) -> None:
    start(account, 3)
    die_of(shard, ALONE_AFTER)
    assert [one.shard for one in claim()] == [shard]
    Shard.objects.update(state=Shard.State.WAITING, owner=None, lease_expires_at=None)

    beside_others = claim(Hand(is_empty=False))
    assert beside_others
    assert shard not in [one.shard for one in beside_others]
    assert claim(Hand(is_empty=False, is_alone=True)) == []


def test_a_shard_that_is_handed_back_has_not_died(shard: Shard) -> None:
    claimed(shard)
    Shard.objects.update(state=Shard.State.WAITING, owner=None, lease_expires_at=None)
    shard.refresh_from_db()
    assert claimed(shard).deaths == 0


@pytest.mark.parametrize(
    ("deaths", "left"), [(ONE_BY_ONE_AFTER - 1, 0), (ONE_BY_ONE_AFTER + 2, ONE_BY_ONE_AFTER)]
)
def test_a_result_clears_a_shard_unless_its_lines_run_one_by_one(
    shard: Shard, deaths: int, left: int
) -> None:
    """A death that comes after progress says nothing of the lines that were done."""
    die_of(shard, deaths)
    claimed(shard)
    requests = journal.unanswered(shard, shard.batch.input_file_id)
    lease = django_settings.BATCH_LEASE_SECONDS
    assert journal.record(shard, 1, answers(requests[:1]), lease)
    shard.refresh_from_db()
    assert shard.deaths == left
    assert journal.finish(shard, 1, answers(requests[1:]), advance=True)
    shard.refresh_from_db()
    assert shard.deaths == 0


def test_deaths_between_calls_say_nothing_of_a_line(shard: Shard) -> None:
    """Workers are killed by operators, hosts and memory too, again and again while an upstream is down."""
    die_of(shard, 10, calling=False)
    assert claimed(shard).deaths == ONE_BY_ONE_AFTER

    lapse()
    shard.refresh_from_db()
    die_of(shard, GIVEN_UP_AFTER - ONE_BY_ONE_AFTER)
    assert claimed(shard).deaths == GIVEN_UP_AFTER


async def test_the_source_knows_when_a_line_of_a_careful_work_is_called() -> None:
    careful, usual = work(2), work(2)
    careful.one_by_one = True
    given = source(careful, usual)

    await run(given, Scripted())

    # That a line is called no more, its record tells.
    assert given.told == [(careful.key, True)] * 2


async def test_a_line_that_waits_to_be_called_again_is_not_being_called() -> None:
    given = source(careful := work(1))
    careful.one_by_one = True
    answers = [Answer(429, {}, b"{}"), Answer(200, {}, b"{}")]

    await run(given, Scripted(lambda request_id, body: answers.pop(0)))

    assert given.told == [(careful.key, True), (careful.key, False), (careful.key, True)]


async def test_a_line_is_not_called_once_another_engine_has_its_shard() -> None:
    """Else both would call a line that may kill them."""
    given, http = source(careful := work(3)), Scripted()
    careful.one_by_one = True
    given.fenced.add(careful.key)

    await run(given, http)

    assert http.calls == []
    assert given.results == []


async def test_a_line_is_not_called_if_its_batch_was_stopped_while_that_was_told() -> None:
    given, http = source(careful := work(3)), Scripted()
    careful.one_by_one = True
    engine = Pump(given, http, options())
    tell = given.calling

    async def slowly(work: Work, *, begun: bool) -> bool:
        engine.end_batch(work.batch, 0)
        return bool(await tell(work, begun=begun))

    given.calling = slowly  # type: ignore[method-assign]
    async with running(engine):
        pass

    assert http.calls == []
    assert [one.left for one in given.released] == [3]


async def test_one_by_one_means_recorded_before_the_next_begins() -> None:
    """Else the first line without a result is not the one that was in flight, and an innocent one is given up."""
    memory = source(careful := work(5))
    careful.one_by_one = True
    seen: list[tuple[str, int]] = []

    def script(request_id: str, body: bytes) -> Answer:
        _, line, call = request_id.split(":")
        seen.append((f"{line}:{call}", len(memory.results)))
        return Answer(429 if (line, call) == ("2", "1") else 200, {}, b"{}")

    await run(memory, Scripted(script), flush_seconds=60)
    assert seen == [("1:1", 0), ("2:1", 1), ("2:2", 1), ("3:1", 2), ("4:1", 3), ("5:1", 4)]
