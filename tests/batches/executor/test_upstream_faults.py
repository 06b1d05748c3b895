"""Every way an upstream can misbehave (F41 to F53d of the fault matrix): the result line, and how many calls it took."""

import asyncio
import gzip
import json
import random
import socket

import pytest

from batches.executor.engine import Target
from tests.batches.executor.scripted import (
    Raw,
    options,
    reply,
    run,
    serving,
    source,
    transport,
    work,
)

GOOD = reply({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "F43 closed before a byte": Raw(),
    "F43 reset before a byte": Raw(then="reset"),
    "F44 reset in the body": Raw(GOOD[:-9], then="reset"),
    "F44 short body": Raw(GOOD[:-9]),
    "F44 truncated piece": Raw(CHUNKED + b"9\r\n{}"),
    "F44 bad piece": Raw(CHUNKED + b"zz\r\n{}"),
}
SILENT = {
    "F46 hangs before the head": Raw(then="hang"),
    "F46 hangs in the body": Raw(GOOD[:-9], then="hang"),
    "F47 drips": Raw(GOOD, pace=0.1),
}
UNREADABLE = {
    "F45 no length, closes early": Raw(b'HTTP/1.1 200 OK\r\n\r\n{"choices": ['),
    "F52 invalid json": reply(b'{"a":}'),
    "F52 html": reply(b"<html></html>"),
    "F52 empty": reply(b""),
    "F52 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "F52 array": reply(b"[]"),
    "F52 string": reply(b'"x"'),
    "F52 invalid utf-8": reply(b'{"a":"\xff"}'),
    "F53b gzip bomb": reply(gzip.compress(b" " * 300_000), Content_Encoding="gzip"),
}
OVERLOADED = {
    "429": reply({}, 429),
    "429 seconds": reply({}, 429, Retry_After="0.01"),
    "429 milliseconds": reply({}, 429, Retry_After_Ms="5"),
    "429 zero": reply({}, 429, Retry_After="0"),
    "429 negative": reply({}, 429, Retry_After="-1"),
    "429 nonsense": reply({}, 429, Retry_After="abc"),
    "429 in the past": reply({}, 429, Retry_After="Fri, 01 Jan 2021 00:00:00 GMT"),
    "503": reply({}, 503),
    "529": reply({}, 529),
    "500 with a wait": reply({}, 500, Retry_After="0.01"),
}
TEMPORARY = [408, 409, 424, 425, 500, 502, 504]
FINAL = [400, 404, 413, 422]


def params(table):
    return [pytest.param(told, id=name) for name, told in table.items()]


class Hasty:
    """A transport whose first calls have fewer seconds, one by one; all later ones have those of the target."""

    def __init__(self, http, seconds):
        self.http = http
        self.seconds = list(seconds)

    async def post(self, url, headers, body, timeout, request_id=""):  # noqa: ASYNC109 - the interface
        if self.seconds:
            timeout = self.seconds.pop()
        return await self.http.post(url, headers, body, timeout, request_id)


async def one_line(script, *, seconds=(), **changes):
    """Run one request line; return its result, its result line, and the upstream. `seconds`: of its first calls."""
    async with serving(script) as upstream, transport() as http:
        given = source(work(target=upstream.target()))
        await run(given, Hasty(http, seconds), max_attempts=3, **changes)
    assert len(given.finished) == 1, "the line has no result"
    (result,) = given.results
    assert result.entry.attempts == len(upstream.calls)
    return result, json.loads(result.line), upstream


def patience(told):
    """Seconds for a call: few where the test waits for their end, yet enough for a busy machine to send it."""
    return 0.5 if told in SILENT.values() else 5.0


def fails_then_works(told, times):
    return lambda call: told if call.number <= times else GOOD


@pytest.mark.parametrize("told", params(BROKEN | SILENT | UNREADABLE | OVERLOADED))
async def test_a_passing_fault_costs_nothing_but_calls(told):
    result, line, upstream = await one_line(fails_then_works(told, 2), seconds=2 * [patience(told)])

    assert (result.entry.completed, result.entry.cause, result.entry.status) == (True, "", 200)
    assert (result.entry.input_tokens, result.entry.output_tokens) == (3, 4)
    assert line["response"]["status_code"] == 200
    assert [call.id for call in upstream.calls] == ["b:1:1", "b:1:2", "b:1:3"]


@pytest.mark.parametrize(
    ("told", "code"),
    [pytest.param(told, "upstream_unreachable", id=name) for name, told in BROKEN.items()]
    + [pytest.param(told, "request_timeout", id=name) for name, told in SILENT.items()]
    + [
        pytest.param(told, "upstream_invalid_response", id=name)
        for name, told in UNREADABLE.items()
    ],
)
async def test_a_lasting_fault_ends_as_its_code(told, code):
    result, line, upstream = await one_line(lambda call: told, seconds=3 * [patience(told)])

    assert len(upstream.calls) == 3
    assert (result.entry.completed, result.entry.cause) == (False, code)
    assert line["response"] is None
    assert line["error"]["code"] == code


@pytest.mark.parametrize("told", params(OVERLOADED))
async def test_overload_uses_up_no_attempt(told):
    result, _, upstream = await one_line(fails_then_works(told, 8))

    assert result.entry.completed
    assert len(upstream.calls) == 9


@pytest.mark.parametrize("status", TEMPORARY)
async def test_f49_a_temporary_error_is_tried_again(status):
    result, _, _ = await one_line(fails_then_works(reply({}, status), 2))

    assert result.entry.completed


@pytest.mark.parametrize("status", TEMPORARY)
async def test_f49_a_lasting_error_keeps_the_last_answer(status):
    body = {"error": {"message": "m", "type": "t", "param": None, "code": status}}
    result, line, upstream = await one_line(lambda call: reply(body, status))

    assert len(upstream.calls) == 3
    assert (result.entry.completed, result.entry.cause, result.entry.status) == (
        False,
        f"http_{status}",
        status,
    )
    assert line["response"]["status_code"] == status
    assert line["response"]["body"] == body
    assert line["error"] is None


@pytest.mark.parametrize(
    ("status", "wish", "calls"), [(500, "false", 1), (429, "false", 1), (400, "true", 3)]
)
async def test_f49_x_should_retry_wins(status, wish, calls):
    result, _, upstream = await one_line(lambda call: reply({}, status, X_Should_Retry=wish))

    assert len(upstream.calls) == calls
    assert result.entry.cause == f"http_{status}"


@pytest.mark.parametrize("status", FINAL)
async def test_f50_the_lines_own_fault_is_not_tried_again(status):
    result, line, upstream = await one_line(lambda call: reply(b'{"error": "no"}', status))

    assert len(upstream.calls) == 1
    assert result.entry.cause == f"http_{status}"
    assert line["response"]["body"] == {"error": "no"}


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(reply({}, 401), id="F51 401"),
        pytest.param(reply({}, 403), id="F51 403"),
        pytest.param(reply({"error": {"code": "insufficient_quota"}}, 429), id="quota"),
    ],
)
async def test_a_refused_key_pauses_the_upstream_and_fails_no_line(told):
    async with serving(lambda call: told) as upstream, transport() as http:
        given = source(work(50, target=upstream.target(key=7)))
        await run(given, http, concurrency=4)

    assert [key for key, _ in given.paused] == [7]
    assert "sk-up" not in given.paused[0][1]
    assert given.results == []
    assert [one.left for one in given.released] == [50]
    assert len(upstream.calls) <= 4


@pytest.mark.parametrize("status", [302, 307, 308])
async def test_f53_a_redirect_is_never_followed(status):
    async with serving() as elsewhere:
        result, line, upstream = await one_line(
            lambda call: reply({}, status, Location=elsewhere.url)
        )

    assert (len(upstream.calls), len(elsewhere.calls)) == (1, 0)
    assert result.entry.cause == "upstream_redirect"
    assert line["error"]["code"] == "upstream_redirect"


async def test_f53b_a_huge_answer_is_refused_once():
    result, line, upstream = await one_line(lambda call: reply(b"x" * 200_000))

    assert len(upstream.calls) == 1
    assert line["error"]["code"] == "response_too_large"
    assert result.entry.cause == "response_too_large"


async def test_f53b_a_wrong_content_type_does_not_matter():
    result, _, upstream = await one_line(lambda call: reply(b"{}", Content_Type="text/html"))

    assert result.entry.completed
    assert len(upstream.calls) == 1


async def test_f53d_the_custom_id_is_ours_whatever_the_answer_says():
    chance = random.Random(3)

    async def script(call):
        await asyncio.sleep(chance.random() / 50)
        if chance.random() < 0.1:
            return reply({}, 500)
        return reply({"custom_id": "other", "id": "batch_req_x", "echo": json.loads(call.body)})

    async with serving(script) as upstream, transport() as http:
        given = source(work(200, target=upstream.target()))
        await run(given, http, max_attempts=50, concurrency=32)

    assert len(given.lines) == 200
    for line in given.lines:
        assert line["custom_id"] == f"b-{line['response']['body']['echo']['n']}"


@pytest.mark.parametrize("host", ["127.0.0.1", "upstream.invalid"])
async def test_f41_f42_an_upstream_that_cannot_be_reached_fails_no_line(host):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        given = source(work(20, target=Target(1, f"http://{host}:{port}/v1/x", {}, 1), window=0.4))
        async with transport() as http:
            await run(given, http, max_attempts=2)

    assert given.results == []
    assert [one.left for one in given.released] == [20]


async def test_f53c_an_upstream_with_bad_tls_fails_no_line():
    async with serving() as upstream, transport() as http:
        url = upstream.url.replace("http:", "https:")
        given = source(work(3, target=Target(1, url, {}, 1), window=0.4))
        await run(given, http, max_attempts=2)

    assert given.results == []
    assert [one.left for one in given.released] == [3]


async def test_the_request_goes_out_and_the_answer_comes_back_byte_for_byte():
    sent = b'{ "temperature" : 1.0, "n":123456789012345678901, "s":"\\u00e9\xc3\xa9" }'
    body = b'{ "a" : 1e400, "b":"\\ud83d\\ude00\xc3\xa9", "a":2 }'
    async with serving(lambda call: reply(body)) as upstream, transport() as http:
        given = source(work(target=upstream.target(), bodies=[sent]))
        await run(given, http)

    (call,) = upstream.calls
    assert call.body == sent
    assert call.path == "/v1/chat/completions"
    assert call.headers["authorization"] == "Bearer sk-up"
    assert call.headers["content-type"] == call.headers["accept"] == "application/json"
    assert call.headers["accept-encoding"] == "identity"
    assert b'"body":' + body + b"}" in given.results[0].line


def test_the_tests_use_the_real_defaults_but_for_time():
    assert options().max_attempts == 5
    assert options().concurrency == 512
