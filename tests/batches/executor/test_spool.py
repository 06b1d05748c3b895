"""Answers that nobody has recorded yet: who takes over finds them, whole or not at all."""

import asyncio
import errno
import os
import zlib
from pathlib import Path

import pytest

from batches.executor import spool as spooling
from batches.executor.engine import Engine
from batches.executor.lines import Result, closing_line
from batches.executor.spool import RETRY_SECONDS, Spool, forget_spools, spooled
from batches.executor.transport import Answer
from tests.batches.executor.scripted import Scripted, options, run, running, source, until, work

REQUESTS = work(50).requests
RESULTS = [
    Result.of(
        request,
        closing_line(request, "batch_expired", "é" * request.index),
        attempts=1,
        status=None,
        cause="batch_expired",
        latency_ms=3,
    )
    for request in REQUESTS
]


class Written(Spool):
    """It does not wait for the end of the loop's step: there is no loop."""

    def add(self, *result):
        self.pending.append(result)
        self.flush()


@pytest.fixture
def spool(tmp_path):
    made = Written(tmp_path / "spool", "engine")
    made.rewrite(())
    return made


@pytest.fixture
def kept(tmp_path):
    """What is found of a work, by the index of its lines."""

    def read(key=1, attempt=1, name="engine"):
        found = list(spooled(tmp_path / "spool", name, {(key, attempt)}))
        assert all((of, result) == (key, RESULTS[result.entry.index]) for of, result in found)
        return [result.entry.index for _, result in found]

    return read


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "spool").iterdir())


def test_results_come_back_as_they_were_by_work_and_attempt(spool, kept):
    for index in range(10):
        spool.add(1 + index % 2, 1, RESULTS[index])
    spool.add(1, 2, RESULTS[10])
    assert kept(key=1) == [0, 2, 4, 6, 8]
    assert kept(key=2) == [1, 3, 5, 7, 9]
    assert kept(key=1, attempt=2) == [10]
    assert kept(key=3) == kept(name="engin") == []


def test_another_engine_has_its_own(tmp_path, spool, kept):
    other = Spool(tmp_path / "spool", "engine2")
    other.rewrite([(1, 1, RESULTS[7])])
    spool.add(1, 1, RESULTS[3])
    assert (kept(), kept(name="engine2")) == ([3], [7])


@pytest.mark.parametrize("cut", [1, 10, 25, 60])
def test_a_frame_that_was_cut_off_is_left_out(tmp_path, spool, kept, cut):
    for index in range(3):
        spool.add(1, 1, RESULTS[index])
    [path] = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    assert kept() == [0, 1]


def test_what_a_power_cut_left_as_zeros_is_no_result(tmp_path, spool, kept):
    spool.add(1, 1, RESULTS[0])
    [path] = files(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert kept() == [0]


def test_no_changed_byte_gives_a_wrong_result(tmp_path, spool, kept):
    for index in range(3):
        spool.add(1, 1, RESULTS[index])
    [path] = files(tmp_path)
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x40]) + good[place + 1 :])
        assert kept() != [0, 1, 2]


def test_a_new_one_has_what_is_not_recorded_and_no_more(tmp_path, spool, kept, monkeypatch):
    monkeypatch.setattr(spooling, "REWRITTEN_BYTES", 1000)
    added = 0
    while not spool.is_due(0):
        spool.add(1, 1, RESULTS[added])
        added += 1
    assert not spool.is_due(10_000)
    spool.rewrite([(1, 1, RESULTS[added - 1])])
    assert kept() == [added - 1]
    assert len(files(tmp_path)) == 1
    assert not spool.is_due(0)


def _refuse(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _take_a_part(file, pieces):
    return os.write(file, b"".join(pieces)[:40])


@pytest.mark.parametrize("write", [_refuse, _take_a_part])
def test_a_disk_that_refuses_costs_no_answer_and_no_call(tmp_path, monkeypatch, kept, write):
    now = [0.0]
    spool = Written(tmp_path / "spool", "engine", clock=lambda: now[0])
    spool.rewrite([(1, 1, RESULTS[0])])
    with monkeypatch.context() as patch:
        patch.setattr(spooling.os, "writev", write)
        spool.add(1, 1, RESULTS[1])
    spool.add(1, 1, RESULTS[2])
    assert kept() == [0]
    assert not spool.is_due(0)
    now[0] += RETRY_SECONDS
    assert spool.is_due(0)
    with monkeypatch.context() as patch:
        patch.setattr(spooling.os, "writev", write)
        spool.rewrite([(1, 1, result) for result in RESULTS[:3]])
    assert kept() == [0]
    now[0] += RETRY_SECONDS
    spool.rewrite([(1, 1, result) for result in RESULTS[:3]])
    assert kept() == [0, 1, 2]
    assert len(files(tmp_path)) == 1


def test_a_disk_that_tells_only_at_the_close_stops_nothing(tmp_path, spool, kept, monkeypatch):
    """And the number of the file, which others may have by then, is not used again."""
    closed = []

    def close(file, close=os.close):
        close(file)
        closed.append(file)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    spool.add(1, 1, RESULTS[0])
    with monkeypatch.context() as patch:
        patch.setattr(spooling.os, "close", close)
        spool.rewrite([(1, 1, RESULTS[0])])
        patch.setattr(spooling.os, "writev", _refuse)
        spool.add(1, 1, RESULTS[1])
    assert len(closed) == 2
    spool.add(1, 1, RESULTS[2])
    assert kept() == [0]


def test_what_another_version_wrote_is_let_be(tmp_path, spool, kept):
    [path] = files(tmp_path)
    index = b'[[1,1,["entry of a later version"]]]'
    path.write_bytes(spooling._HEAD.pack(len(index), 0, zlib.crc32(index)) + index)
    assert kept() == []


def test_large_answers_are_written_a_few_at_a_time(spool, kept, monkeypatch):
    monkeypatch.setattr(spooling, "FRAME_BYTES", 400)
    written = []

    def writev(file, pieces, writev=os.writev):
        written.append(sum(map(len, pieces[2:])))
        return writev(file, pieces)

    monkeypatch.setattr(spooling.os, "writev", writev)
    spool.rewrite((1, 1, result) for result in RESULTS)
    assert kept() == list(range(50))
    assert max(written) < 400 + max(len(result.line) for result in RESULTS)


def test_nothing_of_it_is_left_by_an_engine_that_ends_well(tmp_path, spool, kept):
    spool.add(1, 1, RESULTS[0])
    spool.close()
    assert files(tmp_path) == []
    assert not spool.is_due(0)


def test_what_others_may_need_is_not_removed(tmp_path, spool, kept):
    spool.add(1, 1, RESULTS[0])
    spool.outlives = True
    spool.rewrite([(1, 1, RESULTS[1])])
    spool.close()
    assert sorted(kept()) == [0, 1]


def test_the_old_ones_of_the_gone_are_removed(tmp_path):
    for name in ("gone", "holding", "new"):
        Spool(tmp_path, name).rewrite(())
    for path in tmp_path.iterdir():
        if not path.name.startswith("new"):
            os.utime(path, (0, 0))
    forget_spools(tmp_path, lambda names: names - {"gone"}, 60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holding.1", "new.1"]
    forget_spools(tmp_path / "nothing", lambda names: names, 60)


# In the engine


async def test_they_are_written_at_the_end_of_the_step_that_brought_them(tmp_path, kept):
    spool = Spool(tmp_path / "spool", "engine")
    spool.rewrite(())
    spool.add(1, 1, RESULTS[0])
    spool.add(1, 1, RESULTS[1])
    assert kept() == []
    await asyncio.sleep(0)
    assert kept() == [0, 1]
    spool.add(1, 1, RESULTS[2])
    spool.rewrite([(1, 1, result) for result in RESULTS[1:3]])
    await asyncio.sleep(0)
    assert kept() == [1, 2]


async def test_a_slot_is_given_away_when_its_answer_outlives_the_process(tmp_path):
    """So a kill, at any moment, repeats no more calls than may be in flight."""
    lines, slots = 40, 3
    given = source(work(lines))
    [key] = [one.key for one in given.waiting]
    given.failing.add("record")
    most_lost = 0

    async def script(id, body):
        nonlocal most_lost
        outlived = {result.entry.index for _, result in spooled(tmp_path, "e", {(key, 1)})}
        most_lost = max(most_lost, len(http.calls) - len(outlived))
        await asyncio.sleep(0)
        return Answer(200, {}, b"{}")

    http = Scripted(script)
    engine = Engine(given, http, options(concurrency=slots), spool=Spool(tmp_path, "e"))
    async with running(engine):
        await until(lambda: len(list(spooled(tmp_path, "e", {(key, 1)}))) >= 4 * slots)
        assert most_lost > 0
        given.failing.clear()
    assert most_lost <= slots
    assert len(given.results) == lines
    assert list(tmp_path.iterdir()) == []


async def test_what_nobody_took_is_left_to_others(tmp_path):
    given = source(work(3))
    [key] = [one.key for one in given.waiting]
    given.failing |= {"record", "release"}
    spool = Spool(tmp_path, "e")
    engine = Engine(given, Scripted(), options(give_up_seconds=0.05), spool=spool)
    async with running(engine):
        await until(lambda: len(list(spooled(tmp_path, "e", {(key, 1)}))) == 3)
        engine.stop(0)
    assert given.results == []
    assert len(list(spooled(tmp_path, "e", {(key, 1)}))) == 3


async def test_what_another_has_to_take_over_is_left_to_it(tmp_path):
    """It lost its lease; who has the shard now may die before it has taken the answers."""
    given = source(work(3))
    [key] = [one.key for one in given.waiting]
    given.failing.add("record")
    engine = Engine(given, Scripted(), options(), spool=Spool(tmp_path, "e"))
    async with running(engine):
        await until(lambda: len(list(spooled(tmp_path, "e", {(key, 1)}))) == 3)
        given.fenced.add(key)
        given.failing.clear()
    assert len(list(spooled(tmp_path, "e", {(key, 1)}))) == 3


async def test_an_engine_without_work_has_none(tmp_path):
    engine = Engine(source(), Scripted(), options(), spool=Spool(tmp_path / "spool", "e"))
    async with running(engine):
        pass
    assert not (tmp_path / "spool").exists()


async def test_an_engine_works_without_one():
    given = source(work(3))
    await run(given, Scripted())
    assert len(given.results) == 3
