import email.utils
import random

import pytest

from batches.executor.lines import Code
from batches.executor.retry import Action, Decision, backoff, decide, doubling, retry_after
from batches.executor.transport import Answer, Kind, TransportError

NOW = 1_800_000_000.0
FAIL, RETRY, WAIT, PAUSE = Action


def decided(status, body=b"{}", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return decide(Answer(status, headers, body), now=NOW)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (400, FAIL), (404, FAIL), (405, FAIL), (410, FAIL), (413, FAIL), (422, FAIL), (451, FAIL),
        (401, PAUSE), (403, PAUSE),
        (408, RETRY), (409, RETRY), (424, RETRY), (425, RETRY),
        (500, RETRY), (501, RETRY), (502, RETRY), (504, RETRY), (520, RETRY), (524, RETRY),
        (429, WAIT), (503, WAIT), (529, WAIT),
    ],
)  # fmt: skip
def test_a_status_decides(status, action):
    decision = decided(status)

    assert decision.action is action
    assert decision.code is None
    assert decision.down == (status in {502, 503, 504, 529})


@pytest.mark.parametrize("status", [200, 204, 101])
def test_a_good_status_without_a_json_object_is_tried_again(status):
    assert decided(status) == Decision(RETRY, Code.UPSTREAM_INVALID_RESPONSE)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_fails_at_once(status):
    assert decided(status, x_should_retry="true") == Decision(FAIL, Code.UPSTREAM_REDIRECT)


@pytest.mark.parametrize(
    ("kind", "decision"),
    [
        (Kind.UNREACHABLE, Decision(WAIT, Code.UPSTREAM_UNREACHABLE, down=True)),
        (Kind.BROKEN, Decision(RETRY, Code.UPSTREAM_UNREACHABLE, down=True)),
        (Kind.TIMEOUT, Decision(RETRY, Code.REQUEST_TIMEOUT, down=True)),
        (Kind.TOO_LARGE, Decision(FAIL, Code.RESPONSE_TOO_LARGE)),
        (Kind.ENCODED, Decision(RETRY, Code.UPSTREAM_INVALID_RESPONSE)),
    ],
)
def test_a_call_without_an_answer(kind, decision):
    assert decide(TransportError(kind), now=NOW) == decision


def test_every_kind_of_failure_is_decided():
    for kind in Kind:
        decide(TransportError(kind), now=NOW)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_x_should_retry_false_ends_a_line(status):
    assert decided(status, x_should_retry="false", retry_after="1").action is FAIL


@pytest.mark.parametrize(("status", "action"), [(400, RETRY), (422, RETRY), (429, WAIT)])
def test_x_should_retry_true_tries_again(status, action):
    assert decided(status, x_should_retry="true").action is action


@pytest.mark.parametrize("wish", ["true", "false"])
def test_a_refused_key_pauses_whatever_x_should_retry_says(wish):
    assert decided(401, x_should_retry=wish).action is PAUSE


def test_retry_after_turns_an_attempt_into_a_wait():
    assert decided(500, retry_after="3") == Decision(WAIT, after=3)
    assert decided(500, retry_after="soon").action is RETRY
    assert decided(400, retry_after="3").action is FAIL


@pytest.mark.parametrize(
    ("status", "body", "action"),
    [
        (429, b'{"error":{"code":"insufficient_quota","message":"m"}}', PAUSE),
        (429, b'{"error":{"type":"insufficient_quota","code":null}}', PAUSE),
        (400, b'{"error":{"code":"billing_hard_limit_reached"}}', PAUSE),
        (429, b'{"error":{"code":"rate_limit_exceeded"}}', WAIT),
        (429, b'{"error":{"code":429,"message":"insufficient_quota"}}', WAIT),
        (429, b'{"error":"insufficient_quota"}', WAIT),
        (429, b'insufficient_quota', WAIT),
        (400, b'{"error":{"message":"no insufficient_quota here","code":"x"}}', FAIL),
        (500, b'{"error":{"code":"insufficient_quota"}}', RETRY),
    ],
)  # fmt: skip
def test_a_used_up_quota_pauses(status, body, action):
    assert decided(status, body).action is action


def test_the_reason_of_a_pause_repeats_nothing_the_upstream_said():
    decision = decided(401, b'{"error":{"message":"Incorrect API key provided: sk-secret"}}')

    assert "401" in decision.reason
    assert "sk-" not in decision.reason


def date(offset):
    return email.utils.formatdate(NOW + offset, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "120"}, 120),
        ({"retry-after": "121"}, 120),
        ({"retry-after": "1e9"}, 120),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "abc"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": date(30)}, 30),
        ({"retry-after": date(3000)}, 120),
        ({"retry-after": date(-30)}, None),
        ({"retry-after": "Fri, 99 Foo 2026 99:99:99 GMT"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9),
        ({"retry-after-ms": "-5"}, None),
    ],
)
def test_retry_after_is_read_and_capped(headers, seconds):
    assert retry_after(headers, NOW) == seconds


def test_backoff_doubles_up_to_its_cap():
    assert [doubling(tries, 0.5, 30) for tries in (1, 2, 3, 6, 7, 8, 100_000)] == [
        0.5, 1, 2, 16, 30, 30, 30,
    ]  # fmt: skip


def test_backoff_is_spread_over_its_whole_range():
    rng = random.Random(1)
    waits = [backoff(3, 0.5, 30, rng) for _ in range(200)]

    assert 0 <= min(waits) < 0.2
    assert 1.8 < max(waits) <= 2
