"""What HttpTransport does with its connections: kept, dropped, secured, bounded in time and memory."""

import asyncio
import hashlib
import os
import socket

import pytest

from batches.executor import http_transport
from batches.executor.http_transport import HttpTransport
from batches.executor.transport import Kind, TransportError
from tests.batches.executor.certificates import Authority
from tests.batches.executor.listening import (
    GOOD,
    endless,
    listening,
    made,
    read_request,
    resetting,
    silent,
)
from tests.batches.executor.scripted import Raw, reply, serving, until

HEADERS = {"authorization": "Bearer sk-1"}
OK = b"HTTP/1.1 200 OK\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\n\r\n"


@pytest.fixture(autouse=True)
def idle_connections_stay(monkeypatch):
    """Or a connection wrongly kept would be closed all the same, only later."""
    monkeypatch.setattr(http_transport, "KEEPALIVE_SECONDS", 3600)


def idle(http):
    return [one for kept in http._idle.values() for one in kept if not one.closed]


async def ask(http, server, *, scheme="http", body=b"{}", seconds=5.0, headers=HEADERS, id="b:1:1"):
    return await http.post(f"{scheme}://{server.address}/x", headers, body, seconds, id)


async def failure(http, server, **changes) -> Kind:
    with pytest.raises(TransportError) as caught:
        await ask(http, server, **changes)
    return caught.value.kind


# Kept and dropped


async def test_a_thousand_calls_in_a_row_use_one_connection():
    async with listening(endless()) as server, made(HttpTransport) as http:
        for _ in range(1000):
            await ask(http, server)

        assert server.accepted == 1


async def test_calls_at_once_use_as_many_connections_as_calls_and_then_the_same():
    async with listening(endless(after=0.05)) as server, made(HttpTransport) as http:
        for _ in range(3):
            await asyncio.gather(*(ask(http, server, seconds=60) for _ in range(512)))

            assert server.accepted == 512


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"{}", Connection="close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        GOOD + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[666]",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GOOD,
    ],
    ids=["told to close", "http/1.0", "an answer too many", "an answer too many, chunks"],
)
async def test_a_connection_that_might_not_be_clean_is_not_used_again(answer):
    async with listening(endless(answer)) as server, made(HttpTransport) as http:
        for _ in range(2):
            assert (await ask(http, server)).body in (b"{}", b"")
        await until(lambda: server.open == 0)

        assert server.accepted == 2


@pytest.mark.parametrize(
    ("parting", "closes"), [(b"", True), (TOO_SLOW, True), (TOO_SLOW, False), (b" ", False)]
)
async def test_a_connection_that_the_upstream_lets_go_while_idle_is_replaced(parting, closes):
    async def once(reader, writer):
        await read_request(reader)
        writer.write(GOOD)
        await asyncio.sleep(0.02)
        writer.write(parting)
        if not closes:
            await reader.read()

    async with listening(once) as server, made(HttpTransport) as http:
        for calls in range(1, 4):
            assert (await ask(http, server)).status == 200
            assert server.accepted == calls
            await until(lambda: not idle(http))


async def test_a_kept_connection_that_closes_under_the_next_call_breaks_it():
    async def second_time_lucky(reader, writer):
        await read_request(reader)
        writer.write(GOOD)
        await read_request(reader)

    async with listening(second_time_lucky) as server, made(HttpTransport) as http:
        await ask(http, server)
        assert await failure(http, server) is Kind.BROKEN
        assert server.accepted == 1  # not sent again behind the engine's back

        await ask(http, server)
        assert server.accepted == 2


async def test_an_idle_connection_is_let_go_in_time(monkeypatch):
    monkeypatch.setattr(http_transport, "KEEPALIVE_SECONDS", 0.1)
    async with listening(endless()) as server, made(HttpTransport) as http:
        await ask(http, server)
        assert server.open == 1
        await until(lambda: server.open == 0)

        await ask(http, server)
        assert server.accepted == 2


async def test_the_connection_used_last_is_used_next_so_that_the_others_can_go():
    async with listening(endless()) as server, made(HttpTransport) as http:
        await asyncio.gather(*(ask(http, server) for _ in range(5)))
        assert server.open == 5
        for connection in idle(http):
            connection.idle_since -= http_transport.KEEPALIVE_SECONDS
        for _ in range(5):
            await ask(http, server)
        await until(lambda: server.open == 1)

        assert server.accepted == 5


async def test_origins_do_not_share_connections_and_keys_do_not_share_heads():
    seen = []

    async def noting(reader, writer):
        while True:
            head, _ = await read_request(reader)
            seen.append(head)
            writer.write(GOOD)

    async with (
        listening(noting) as one,
        listening(noting) as other,
        made(HttpTransport) as http,
    ):
        await ask(http, one)
        await ask(http, other, id="b:2:1")
        await ask(http, one, headers={"authorization": "Bearer sk-2"}, body=b"[1]")
        await ask(http, one, headers={"authorization": "Bearer sk-3"}, id="")

        assert (one.accepted, other.accepted) == (1, 1)
    assert seen == [
        b"POST /x HTTP/1.1\r\nHost: %b\r\nauthorization: Bearer %b\r\n%bContent-Length: %d\r\n\r\n"
        % (host.encode(), key, id, length)
        for host, key, id, length in [
            (one.address, b"sk-1", b"x-request-id: b:1:1\r\n", 2),
            (other.address, b"sk-1", b"x-request-id: b:2:1\r\n", 2),
            (one.address, b"sk-2", b"x-request-id: b:1:1\r\n", 3),
            (one.address, b"sk-3", b"", 2),
        ]
    ]


async def test_f44_a_reset_does_not_end_an_unsized_body():
    async with listening(resetting(OK + b"\r\n{}")) as server, made(HttpTransport) as http:
        assert await failure(http, server) is Kind.BROKEN


# Long bodies


async def test_a_long_body_arrives_whole_at_a_slow_reader_and_does_not_pile_up():
    body = os.urandom(8 << 20)
    digest = hashlib.sha256()
    received = most_buffered = 0

    async def slow(reader, writer):
        nonlocal received, most_buffered
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        await reader.readuntil(b"\r\n\r\n")
        while received < len(body):
            piece = await reader.read(1 << 18)
            digest.update(piece)
            received += len(piece)
            most_buffered = max(most_buffered, *map(buffered, http._live))
            await asyncio.sleep(0)
        writer.write(GOOD)
        await reader.read()

    def buffered(connection):
        return connection._transport.get_write_buffer_size()

    async with listening(slow) as server, made(HttpTransport) as http:
        assert (await ask(http, server, body=body)).status == 200
        assert digest.digest() == hashlib.sha256(body).digest()
        assert most_buffered <= 256 << 10


@pytest.mark.parametrize("then", ["stays", "ends"])
async def test_an_answer_that_comes_before_the_request_is_sent_counts(then):
    answered = asyncio.Event()

    async def early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        if then == "ends":
            writer.write(b"HTTP/1.1 413 Too Long\r\n\r\ntoo long")
            writer.write_eof()
        else:
            writer.write(reply(b"too long", 413))
        await answered.wait()
        writer.transport.resume_reading()
        while await reader.read(1 << 16):
            pass

    async with listening(early) as server, made(HttpTransport) as http:
        answer = await ask(http, server, body=bytes(32 << 20))
        assert (answer.status, answer.body) == (413, b"too long")
        answered.set()
        await until(lambda: server.open == 0)  # half a request is no place to begin another


async def test_a_long_answer_arrives_whole():
    body = os.urandom(8 << 20)
    async with listening(endless(reply(body))) as server:
        async with made(HttpTransport, max_bytes=len(body)) as http:
            for _ in range(2):
                assert (await ask(http, server)).body == body
        assert server.accepted == 1


# Time


async def test_the_deadline_counts_from_the_call_and_frees_the_connection():
    drip = Raw(reply(b"x" * 900), pace=0.01)
    async with serving(lambda call: drip) as upstream, made(HttpTransport) as http:
        calls = [http.post(upstream.url + "/x", HEADERS, b"{}", 1.0) for _ in range(50)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: upstream.in_flight == 0)

    assert [outcome.kind for outcome in outcomes] == [Kind.TIMEOUT] * 50


@pytest.mark.parametrize(("seconds", "connect_seconds"), [(0.2, 10), (60, 0.2)])
async def test_connecting_is_bounded_by_both_limits(seconds, connect_seconds):
    async with (
        listening(silent) as server,
        made(HttpTransport, connect_seconds=connect_seconds) as http,
    ):
        kind = await failure(http, server, scheme="https", seconds=seconds)
        assert kind is Kind.UNREACHABLE
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelling_closes_connections_that_are_being_made(scheme):
    async with listening(silent) as server, made(HttpTransport) as http:
        calls = [asyncio.create_task(ask(http, server, scheme=scheme)) for _ in range(50)]
        await until(lambda: server.accepted >= 25)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: server.open == 0)

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


async def test_a_call_cancelled_as_its_answer_comes_leaves_a_clean_connection_or_none():
    async with listening(endless()) as server, made(HttpTransport) as http:
        for turns in range(30):
            call = asyncio.create_task(ask(http, server))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert (await ask(http, server)).body == b"{}"


# Closing


async def test_closing_closes_all_and_leaves_no_call_waiting():
    async with listening(endless()) as server, listening(silent) as slow:
        http = HttpTransport(max_bytes=1000)
        await ask(http, server)
        call = asyncio.create_task(ask(http, slow))
        await until(lambda: slow.open == 1)
        await http.close()
        await until(lambda: server.open == slow.open == 0)

        with pytest.raises(TransportError) as caught:
            await call
        assert caught.value.kind is Kind.BROKEN
        assert await failure(http, server) is Kind.UNREACHABLE
        await until(lambda: server.open == 0)


# TLS


async def test_an_authority_that_was_named_is_trusted_and_connections_are_kept(tmp_path):
    authority = Authority(tmp_path)
    async with (
        listening(endless(), tls=authority.server()) as server,
        made(HttpTransport, ca_file=authority.file) as http,
    ):
        for _ in range(3):
            assert (await ask(http, server, scheme="https")).body == b"{}"

        assert server.accepted == 1


async def test_the_server_is_told_the_name_that_was_asked_for_and_must_prove_it(tmp_path):
    authority = Authority(tmp_path)
    tls, names = authority.server("localhost"), []
    tls.sni_callback = lambda connection, name, context: names.append(name)
    async with (
        listening(endless(), tls=tls) as server,
        made(HttpTransport, ca_file=authority.file) as http,
    ):
        url = f"https://localhost:{server.address.partition(':')[2]}/x"
        assert (await http.post(url, HEADERS, b"{}", 5)).body == b"{}"
        assert names == ["localhost"]
        assert await failure(http, server, scheme="https") is Kind.UNREACHABLE


async def test_a_long_body_goes_through_tls(tmp_path):
    authority, body = Authority(tmp_path), os.urandom(1 << 20)

    async def echo(reader, writer):
        while True:
            writer.write(reply((await read_request(reader))[1]))
            await writer.drain()

    async with (
        listening(echo, tls=authority.server()) as server,
        made(HttpTransport, ca_file=authority.file, max_bytes=len(body)) as http,
    ):
        for _ in range(2):
            assert (await ask(http, server, scheme="https", body=body)).body == body


async def test_an_authority_file_that_is_missing_reaches_nobody(tmp_path):
    async with (
        listening(endless()) as server,
        made(HttpTransport, ca_file=str(tmp_path / "none.pem")) as http,
    ):
        assert await failure(http, server, scheme="https") is Kind.UNREACHABLE


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "x\u00e9.example"])
async def test_a_name_that_cannot_be_one_reaches_nobody(name):
    async with made(HttpTransport) as http:
        with pytest.raises(TransportError) as caught:
            await http.post(f"http://{name}/x", HEADERS, b"{}", 5)
        assert caught.value.kind is Kind.UNREACHABLE


@pytest.mark.parametrize("id", ["a\r\nx: y", "\xe9"])
async def test_a_request_id_that_cannot_be_sent_is_refused(id):
    async with listening(endless()) as server, made(HttpTransport) as http:
        assert await failure(http, server, id=id) is Kind.UNREACHABLE
        assert server.accepted == 0
