"""What the cluster's processes share. What becomes of the processes is in tests/e2e/test_cluster.py."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from batches.cluster import Flag, PacketQueue, Timer, draining
from tests.support.processes import wait_for

pytestmark = pytest.mark.linux
fork = multiprocessing.get_context("fork")


@pytest.fixture
def tasks() -> Iterator[PacketQueue]:
    queue = PacketQueue()
    yield queue
    queue.close()


@pytest.fixture
def results() -> Iterator[PacketQueue]:
    queue = PacketQueue()
    yield queue
    queue.close()


def forked(target: Callable[..., None], *args: Any) -> Any:
    process = fork.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def test_a_flag_set_in_one_process_is_set_in_all() -> None:
    flag = Flag()
    assert not flag.is_set()
    child = forked(flag.set)
    assert flag.wait(10)
    child.join(10)


def test_a_flag_that_nobody_sets_is_waited_for_only_so_long() -> None:
    assert not Flag().wait(0)


def test_a_process_outside_a_cluster_is_not_draining() -> None:
    assert not draining()


def test_a_timer_is_shared_and_survives_a_process_killed_in_its_lock() -> None:
    timer, inside = Timer(), Flag()

    def hold() -> None:
        with timer.get_lock():
            timer.value = 5
            inside.set()
            signal.pause()

    child = forked(hold)
    assert inside.wait(10)
    child.kill()
    child.join(10)
    with timer.get_lock():
        assert timer.value == 5


def test_every_message_is_read_by_one_reader(tasks: PacketQueue, results: PacketQueue) -> None:
    def read() -> None:
        while (number := tasks.get()) != "STOP":
            results.put(number)

    readers = [forked(read) for _ in range(3)]
    for number in range(100):
        tasks.put(number)
    for _ in readers:
        tasks.put("STOP")
    assert sorted(results.get() for _ in range(100)) == list(range(100))
    for reader in readers:
        reader.join(10)
    assert tasks.empty()
    assert results.empty()


def test_a_reader_killed_while_it_waits_takes_nothing_along(
    tasks: PacketQueue, results: PacketQueue
) -> None:
    def read() -> None:
        results.put(os.getpid())
        results.put(tasks.get())

    dead = forked(read)
    assert results.get() == dead.pid
    dead.kill()
    dead.join(10)
    tasks.put("task")
    living = forked(read)
    assert results.get() == living.pid
    assert results.get() == "task"
    living.join(10)


def test_one_at_a_time_waits_for_the_message_before() -> None:
    second = Flag()
    with closing(PacketQueue(one_at_a_time=True)) as tasks:
        tasks.put("first")

        def put_second() -> None:
            tasks.put("second")
            second.set()

        child = forked(put_second)
        assert not second.wait(0.2)
        assert tasks.get() == "first"
        assert second.wait(10)
        assert tasks.get() == "second"
        child.join(10)


def test_an_ended_queue_says_stop_even_if_something_is_left() -> None:
    ended = Flag()
    with closing(PacketQueue(ended=ended.is_set)) as tasks:
        tasks.put("left")
        ended.set()
        assert tasks.get() == "STOP"
        assert tasks.get_nowait() == "left"
        assert tasks.get_nowait() is None


def test_a_result_of_any_length_gets_through_cut(results: PacketQueue) -> None:
    results.put({"ack_id": 7, "result": "x" * 1_000_000})
    wait_for(lambda: not results.empty(), "the message")
    task = results.get()
    assert task["ack_id"] == 7
    assert len(task["result"]) == PacketQueue.LONGEST_RESULT
