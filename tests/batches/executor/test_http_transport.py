"""The faults of an upstream (F41 to F53d), on both transports and both event loops: the same Answer, the same Kind."""

import asyncio
import gzip
import json
import logging
import random
import ssl
import warnings

import pytest

from batches.executor import aiohttp_transport, http_transport
from batches.executor.aiohttp_transport import AiohttpTransport
from batches.executor.http_transport import HttpTransport
from batches.executor.transport import Kind, TransportError
from tests.batches.executor.certificates import Authority
from tests.batches.executor.listening import CAP, listening, made, resetting
from tests.batches.executor.scripted import Raw, reply, serving, until
from tests.support.ports import held_port

HEADERS = {
    "authorization": "Bearer sk-secret",
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "x-request-id": "b:1:1",
}
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = b'{"ok":true}'

ANSWERS = {  # what is told, and the status and body that come of it
    "F45 no length, closes early": (Raw(OK + b'\r\n{"a":'), 200, b'{"a":'),
    "F50 422": (reply(GOOD, 422), 422, GOOD),
    "F51 401": (reply(GOOD, 401), 401, GOOD),
    "F52 html": (reply(b"<html>"), 200, b"<html>"),
    "F52 empty": (reply(b""), 200, b""),
    "F52 204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "F52 304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "F52 invalid utf-8": (reply(b"\xff"), 200, b"\xff"),
    "F53 302": (reply(b"", 302, Location="http://127.0.0.1:1/"), 302, b""),
    "F53 307": (reply(b"", 307, Location="http://127.0.0.1:1/"), 307, b""),
    "F53 308": (reply(b"", 308, Location="http://127.0.0.1:1/"), 308, b""),
    "F53b fifty interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + reply(GOOD), 200, GOOD),
    "F53b exactly the cap": (reply(b"x" * CAP), 200, b"x" * CAP),
    "F53b wrong type": (reply(GOOD, Content_Type="text/html"), 200, GOOD),
    "identity": (reply(GOOD, Content_Encoding="Identity"), 200, GOOD),
    "chunks": (CHUNKED + b"5\r\n" + GOOD[:5] + b"\r\n6\r\n" + GOOD[5:] + b"\r\n0\r\n\r\n", 200, GOOD),
    "drips, in time": (Raw(reply(GOOD), pace=0.001), 200, GOOD),
    "drips chunks, in time": (Raw(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", pace=0.001), 200, b"{}"),
}  # fmt: skip
FAULTS = {
    "F43 closed before a byte": (Raw(), Kind.BROKEN),
    "F44 half a head": (Raw(OK + b"Content-Le"), Kind.BROKEN),
    "F44 short body": (Raw(OK + b"Content-Length: 9\r\n\r\n{}"), Kind.BROKEN),
    "F44 truncated chunk": (Raw(CHUNKED + b"5\r\n{}"), Kind.BROKEN),
    "F44 no last chunk": (Raw(CHUNKED + b"2\r\n{}\r\n"), Kind.BROKEN),
    "F44 bad chunk": (Raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), Kind.BROKEN),
    "F44 not http": (Raw(b"SSH-2.0-OpenSSH\r\n\r\n"), Kind.BROKEN),
    "F46 hangs before the head": (Raw(then="hang"), Kind.TIMEOUT),
    "F46 hangs in the head": (Raw(OK, then="hang"), Kind.TIMEOUT),
    "F46 hangs in the body": (Raw(OK + b"Content-Length: 9\r\n\r\n{}", then="hang"), Kind.TIMEOUT),
    "F46 hangs in a chunk": (Raw(CHUNKED + b"9\r\n{}", then="hang"), Kind.TIMEOUT),
    "F47 drips": (Raw(reply(b"{" + b" " * 900 + b"}"), pace=0.05), Kind.TIMEOUT),
    "F53b one byte over the cap": (reply(b"x" * (CAP + 1)), Kind.TOO_LARGE),
    "F53b over the cap, unsized": (Raw(OK + b"\r\n" + b"x" * (CAP + 1)), Kind.TOO_LARGE),
    "F53b over the cap in chunks": (Raw(CHUNKED + b"3e9\r\n" + b"x" * 1001, then="hang"), Kind.TOO_LARGE),
    "F53b announced": (Raw(OK + b"Content-Length: 200000000\r\n\r\n", then="hang"), Kind.TOO_LARGE),
    "F53b gzip bomb": (reply(gzip.compress(b" " * 500_000), Content_Encoding="gzip"), Kind.ENCODED),
    "F53b brotli": (reply(GOOD, Content_Encoding="br"), Kind.ENCODED),
    "F53b huge header": (Raw(OK + b"X: " + b"x" * 200_000 + b"\r\nContent-Length: 2\r\n\r\n{}"), Kind.BROKEN),
}  # fmt: skip


def rows(table):
    return [pytest.param(*row, id=name) for name, row in table.items()]


@pytest.fixture(autouse=True)
def idle_connections_stay(monkeypatch):
    """Or a connection wrongly kept would be closed all the same, only later."""
    for module in (http_transport, aiohttp_transport):
        monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 3600)


@pytest.fixture(params=[HttpTransport, AiohttpTransport], ids=["http", "aiohttp"])
def kind(request):
    return request.param


async def failure(http, url, timeout=5.0) -> Kind:  # noqa: ASYNC109 - the interface
    with pytest.raises(TransportError) as caught:
        await http.post(url, HEADERS, b"{}", timeout)
    assert "secret" not in str(caught.value)
    return caught.value.kind


@pytest.fixture
def unused_port():
    with held_port() as port:
        yield port


@pytest.mark.parametrize(("told", "status", "body"), rows(ANSWERS))
async def test_an_answer(kind, told, status, body):
    async with serving(lambda call: told) as upstream, made(kind) as http:
        answer = await http.post(upstream.url + "/x", HEADERS, b"{}", 5)

    assert (answer.status, answer.body) == (status, body)
    assert len(upstream.calls) == 1


@pytest.mark.parametrize(("told", "expected"), rows(FAULTS))
async def test_a_fault(kind, told, expected):
    found, calls = await fault(kind, told, 0.5 if expected is Kind.TIMEOUT else 5.0)
    if not calls:  # a busy machine had not sent it yet
        found, calls = await fault(kind, told, 5.0)

    assert found is expected
    assert len(calls) == 1  # nothing is sent again behind the engine's back


async def fault(kind, told, seconds):
    """What a call came to, and what the upstream got of it."""
    async with serving(lambda call: told) as upstream, made(kind) as http:
        found = await failure(http, upstream.url + "/x", seconds)
        await until(lambda: upstream.in_flight == 0)  # its connection is closed
    return found, upstream.calls


@pytest.mark.parametrize(
    "sent", [b"", OK + b"Content-Length: 9\r\n\r\n{}", CHUNKED + b"5\r\n{}"],
    ids=["F43 before a byte", "F44 in the body", "F44 in a chunk"],
)  # fmt: skip
async def test_a_reset(kind, sent):
    async with listening(resetting(sent)) as server, made(kind) as http:
        assert await failure(http, f"http://{server.address}/x") is Kind.BROKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "upstream.invalid"], ids=["F41", "F42"])
async def test_nobody_is_there(kind, host, unused_port):
    async with made(kind) as http:
        assert await failure(http, f"http://{host}:{unused_port}/x") is Kind.UNREACHABLE


@pytest.mark.parametrize("url", ["nonsense", "http:///x"])
async def test_an_address_that_is_none(kind, url):
    async with made(kind) as http:
        assert await failure(http, url) is Kind.UNREACHABLE


@pytest.mark.parametrize("days", [9, -9], ids=["unknown authority", "expired"])
async def test_f53c_a_certificate_nobody_vouches_for(kind, tmp_path, days):
    tls = Authority(tmp_path).server(days=days)
    async with serving(tls=tls) as upstream, made(kind) as http:
        assert await failure(http, upstream.url + "/x") is Kind.UNREACHABLE
        assert upstream.calls == []


async def test_f53c_a_server_that_knows_only_tls_1_0(kind, tmp_path):
    tls = Authority(tmp_path).server()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1
    async with serving(tls=tls) as upstream, made(kind) as http:
        assert await failure(http, upstream.url + "/x") is Kind.UNREACHABLE


@pytest.mark.parametrize("told", ["closes", "speaks no tls", "says nothing"])
async def test_f53c_a_handshake_that_fails(kind, told):
    async def shake(reader, writer):
        await reader.read(1)
        if told == "speaks no tls":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        elif told == "says nothing":
            await reader.read()

    async with listening(shake) as server, made(kind, connect_seconds=0.3) as http:
        assert await failure(http, f"https://{server.address}/x") is Kind.UNREACHABLE


async def test_request_and_answer_keep_their_bytes(kind):
    body = b'{ "a" : 1.0, "\xc3\xa9":"\\u00e9" }\r\n'
    async with (
        serving(lambda call: reply(call.body, X_Request_ID="req_1")) as upstream,
        made(kind) as http,
    ):
        answer = await http.post(upstream.url + "/x?y=z", HEADERS, body, 5)

    assert (answer.status, answer.body, answer.headers["x-request-id"]) == (200, body, "req_1")
    (call,) = upstream.calls
    assert (call.path, call.body) == ("/v1/x?y=z", body)
    sent = dict(call.headers)
    assert sent.pop("host") == upstream.url.split("/")[2]
    assert sent.pop("content-length") == str(len(body))
    assert sent == HEADERS  # and nothing else


async def test_no_cookie_and_no_proxy(kind, monkeypatch, unused_port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port}")
    monkeypatch.setenv("no_proxy", "")
    async with serving(lambda call: reply(Set_Cookie="a=b")) as upstream, made(kind) as http:
        for _ in range(3):
            await http.post(upstream.url + "/x", HEADERS, b"{}", 5)

    assert len(upstream.calls) == 3
    assert all("cookie" not in call.headers for call in upstream.calls)


async def test_f53d_every_call_gets_its_own_answer(kind):
    chance = random.Random(3)

    async def script(call):
        await asyncio.sleep(chance.random() / 20)
        return reply({"echo": json.loads(call.body)}, chance.choice([200, 500]))

    async with serving(script) as upstream, made(kind) as http:

        async def ask(number):
            for turn in range(5):
                body = json.dumps([number, turn]).encode()
                answer = await http.post(upstream.url + "/x", HEADERS, body, 10)
                assert json.loads(answer.body) == {"echo": [number, turn]}

        await asyncio.gather(*(ask(number) for number in range(40)))


async def test_f60_cancelling_closes_every_connection(kind):
    async with serving(lambda call: Raw(then="hang")) as upstream, made(kind) as http:
        calls = [
            asyncio.create_task(http.post(upstream.url + "/x", HEADERS, b"{}", 60))
            for _ in range(200)
        ]
        await until(lambda: upstream.in_flight == 200)
        for call in calls:
            call.cancel()
        await until(lambda: upstream.in_flight == 0)

        assert upstream.aborted == 200
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)


async def test_nothing_of_a_call_is_logged(kind, caplog):
    caplog.set_level(logging.INFO)
    async with serving(lambda call: Raw(b"rubbish of sk-secret")) as upstream, made(kind) as http:
        assert await failure(http, upstream.url + "/x") is Kind.BROKEN

    assert "secret" not in caplog.text
    assert "rubbish" not in caplog.text
