"""Requests leave together at the end of the loop's step; what may happen to a call before."""

import asyncio
from unittest.mock import create_autospec

import pytest

from batches.executor.http_connection import PIECE_BYTES, TOGETHER, Connection, Outbox
from batches.executor.transport import Kind, TransportError
from tests.batches.executor.listening import GOOD
from tests.batches.executor.scripted import until


def connected(outbox=None):
    """A connection, and what stands for its socket."""
    loop = asyncio.get_running_loop()
    connection = Connection(loop, outbox or Outbox(loop), 1000)
    wire = create_autospec(asyncio.Transport, instance=True)
    wire.is_closing.return_value = False
    connection.connection_made(wire)
    return connection, wire


async def test_requests_leave_together_at_the_end_of_the_step():
    outbox = Outbox(asyncio.get_running_loop())
    (first, one), (second, two) = connected(outbox), connected(outbox)
    answers = first.send(b"head", b"a"), second.send(b"head", b"b")
    assert not one.write.called
    assert not two.write.called

    await until(lambda: two.write.called)
    one.write.assert_called_once_with(b"heada")
    two.write.assert_called_once_with(b"headb")
    for connection, answer in zip((first, second), answers, strict=True):
        connection.data_received(GOOD)
        assert (await answer).body == b"{}"
        assert connection.reusable


async def test_a_call_that_ends_before_its_request_left_sends_nothing():
    outbox = Outbox(asyncio.get_running_loop())
    (connection, wire), (other, probe) = connected(outbox), connected(outbox)
    connection.send(b"head", b"a").cancel()
    connection.abort()
    other.send(b"head", b"b").cancel()
    await until(lambda: probe.write.called)
    assert not wire.write.called


async def test_an_answer_to_a_request_that_did_not_leave_ends_the_connection():
    connection, wire = connected()
    answer = connection.send(b"head", b"a")
    connection.data_received(GOOD)
    assert (await answer).body == b"{}"
    assert connection.closed
    assert not connection.reusable
    assert not wire.write.called


async def test_a_long_body_never_leaves_before_its_head():
    connection, wire = connected()
    connection.pause_writing()  # the request before has not left wholly
    connection.send(b"head", b"a" * 3 * PIECE_BYTES).cancel()
    connection.resume_writing()
    await until(lambda: wire.write.call_count == 4)
    assert [len(call.args[0]) for call in wire.write.call_args_list] == [4] + 3 * [PIECE_BYTES]


@pytest.mark.parametrize("later", ["answer", "fault", "end"])
async def test_what_comes_between_cancelling_and_closing_is_for_nobody(later):
    connection, _ = connected()
    connection.send(b"", b"").cancel()
    if later == "answer":
        connection.data_received(GOOD)
    elif later == "fault":
        connection.fail(TransportError(Kind.TIMEOUT))
    else:
        connection.connection_lost(None)


async def test_many_requests_of_one_step_do_not_wait_for_its_end():
    outbox = Outbox(asyncio.get_running_loop())
    pairs = [connected(outbox) for _ in range(TOGETHER + 1)]
    for connection, _ in pairs:
        connection.send(b"head", b"a").cancel()
    assert [wire.write.called for _, wire in pairs] == [True] * TOGETHER + [False]

    await until(lambda: pairs[-1][1].write.called)
    assert all(wire.write.call_count == 1 for _, wire in pairs)
