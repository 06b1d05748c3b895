"""What is on the wire, to the letter: the objects in each state, the refusals, and the lines of a result file.

Ids and times are taken out; a key that is added, lost, moved or of another type makes a test fail.
"""

import json
import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import Account
from batches import results
from batches.models import Batch, Status
from tests.batches.factories import reach, run, start, submit
from tests.contract.lines import CHAT, refused_line, request_line, request_lines
from tests.factories import FileFactory
from tests.support.processes import wait_for
from tests.support.server import request
from tests.support.stack import Stack

STAMPED = {
    Status.VALIDATING: set(),
    Status.FAILED: {"failed_at"},
    Status.IN_PROGRESS: {"in_progress_at"},
    Status.FINALIZING: {"in_progress_at", "finalizing_at"},
    Status.COMPLETED: {"in_progress_at", "finalizing_at", "completed_at"},
    Status.EXPIRED: {"in_progress_at", "expired_at"},
    Status.CANCELLING: {"in_progress_at", "cancelling_at"},
    Status.CANCELLED: {"in_progress_at", "cancelling_at", "cancelled_at"},
}
MASKS = (
    (r'"(batch_|file-)[0-9a-f]{32}"', r'"<\1id>"'),
    (r"(batch_req_)[0-9a-f]{32}", r"\1<id>"),
    (r'"batch_[0-9a-f]{32}:[0-9]+:1"', '"<request id>"'),
    (r'("(?:\w+_at|created)":)[0-9]{10}\b', r"\1<time>"),
    (r'"chatcmpl-[0-9a-f]{24}"', '"<answer id>"'),
    (r'(Simulated answer to \\"question [0-9]+\\": )[^"]*', r"\1..."),
)
FRESH = (
    '{"id":"<batch_id>","object":"batch","endpoint":"/v1/chat/completions","model":null,"errors":null,'
    '"input_file_id":"<file-id>","completion_window":"24h","status":"validating",'
    '"output_file_id":null,"error_file_id":null,"created_at":<time>,"in_progress_at":null,'
    '"expires_at":<time>,"finalizing_at":null,"completed_at":null,"failed_at":null,"expired_at":null,'
    '"cancelling_at":null,"cancelled_at":null,"request_counts":{"total":0,"completed":0,"failed":0},'
    '"usage":{"input_tokens":0,"input_tokens_details":{"cached_tokens":0},"output_tokens":0,'
    '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":0},"max_concurrency":512,"metadata":null}'
)
FILE = (
    '{"id":"<file-id>","object":"file","bytes":80,"created_at":<time>,"expires_at":null,'
    '"filename":"in.jsonl","purpose":"batch","status":"processed","status_details":null,"sha256":null}'
)


def masked(content: bytes) -> str:
    """Return the text with its ids and times taken out."""
    text = content.decode()
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


# Objects


def test_a_new_batch(api: Client, account: Account) -> None:
    asked = {
        "input_file_id": FileFactory(account).pk,
        "endpoint": CHAT,
        "completion_window": "24h",
    }
    answer = api.post("/v1/batches", asked, content_type="application/json")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert masked(answer.content) == FRESH
    batch = answer.json()
    assert batch["expires_at"] - batch["created_at"] == 86_400


@pytest.mark.parametrize("status", Status)
def test_a_batch_in_each_state(api: Client, account: Account, status: Status) -> None:
    batch = reach(submit(account, b"{}\n"), status)
    expected = FRESH.replace('"validating"', f'"{status}"')
    for stamp in STAMPED[status]:
        expected = expected.replace(f'"{stamp}":null', f'"{stamp}":<time>')
    assert masked(api.get(f"/v1/batches/{batch.pk}").content) == expected


def test_a_batch_that_has_results(api: Client, account: Account) -> None:
    batch = run(start(account, 3, metadata={"a": "b"}, max_concurrency=7), failing={"1"})
    results.finalize(batch.pk)
    found = json.loads(masked(api.get(f"/v1/batches/{batch.pk}").content).replace("<time>", "0"))
    different = {k: v for k, v in found.items() if v != json.loads(FRESH.replace("<time>", "0"))[k]}
    assert different == {
        "model": "m",
        "status": "completed",
        "output_file_id": "<file-id>",
        "error_file_id": "<file-id>",
        "in_progress_at": 0,
        "finalizing_at": 0,
        "completed_at": 0,
        "request_counts": {"total": 3, "completed": 2, "failed": 1},
        "usage": {
            "input_tokens": 4,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens": 6,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 10,
        },
        "max_concurrency": 7,
        "metadata": {"a": "b"},
    }


def test_the_errors_of_a_batch(api: Client, account: Account) -> None:
    batch = submit(account, b"{}\n")
    problem = {"code": "invalid_url", "message": "The words.", "param": "url", "line": 3}
    batch.move(Status.FAILED, actor="test", errors=[problem])
    assert (
        '"errors":{"object":"list","data":[{"code":"invalid_url","message":"The words.","param":"url","line":3}]},'
        in api.get(f"/v1/batches/{batch.pk}").content.decode()
    )


def test_a_file_and_its_deletion(api: Client, account: Account) -> None:
    file = FileFactory(account)
    assert masked(api.get(f"/v1/files/{file.pk}").content) == FILE
    assert (
        masked(api.delete(f"/v1/files/{file.pk}").content)
        == '{"id":"<file-id>","object":"file","deleted":true}'
    )


@pytest.mark.parametrize("name", ["files", "batches"])
def test_pages(api: Client, account: Account, name: str) -> None:
    empty = '{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}'
    assert api.get(f"/v1/{name}").content.decode() == empty
    for _ in range(2):
        Batch.objects.filter(pk=submit(account, b"{}\n").pk).update(max_concurrency=512)
    page = api.get(f"/v1/{name}?limit=1").json()
    assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
    assert page["first_id"] == page["last_id"] == page["data"][0]["id"]
    assert page["has_more"] is True


# Result lines, as the worker wrote them

ANSWERED = (
    '{"id":"batch_req_<id>","custom_id":"line-0","response":{"status_code":200,"request_id":"<request id>",'
    '"body":{"id":"<answer id>","object":"chat.completion","created":<time>,"model":"simulated",'
    '"choices":[{"index":0,"message":{"role":"assistant",'
    '"content":"Simulated answer to \\"question 0\\": ...","refusal":null},"logprobs":null,'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":29,"total_tokens":31,'
    '"counted_as":"words"},"system_fingerprint":"simulated","simulated":true}},"error":null}\n'
)
REFUSED = (
    '{"id":"batch_req_<id>","custom_id":"line-1","response":{"status_code":400,"request_id":"<request id>",'
    '"body":{"error":{"message":"messages must be a list of at least one message.",'
    '"type":"invalid_request_error","param":"messages","code":null},"simulated":true}},"error":null}\n'
)
NOT_RUN = {
    "expired": '{"code":"batch_expired",'
    '"message":"This request could not be executed before the completion window expired."}',
    "cancelled": '{"code":"batch_cancelled",'
    '"message":"This request was not executed because the batch was cancelled."}',
}


class Wire:
    """Requests written by hand, with a key."""

    def __init__(self, service: Stack, key: str) -> None:
        self.service = service
        self.key = key

    def ask(self, method: str, path: str, body: bytes | None = None, *headers: str) -> bytes:
        raw = request(method, path, f"Authorization: Bearer {self.key}", *headers, body=body)
        answer = self.service.server.send(raw)
        assert answer.status == 200, answer
        return answer.body

    def submit(self, content: bytes) -> str:
        form = (
            b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
            + content
            + b"\r\n--x--\r\n"
        )
        kind = "Content-Type: multipart/form-data; boundary=x"
        file = json.loads(self.ask("POST", "/v1/files", form, kind))
        asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
        kind = "Content-Type: application/json"
        made = self.ask("POST", "/v1/batches", json.dumps(asked).encode(), kind)
        return str(json.loads(made)["id"])

    def batch(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("GET", f"/v1/batches/{batch_id}"))
        return found

    def wait(self, batch_id: str, status: str) -> dict[str, Any]:
        wait_for(lambda: self.batch(batch_id)["status"] == status, f"{batch_id} {status}", 60)
        return self.batch(batch_id)

    def content(self, file_id: str) -> bytes:
        return self.ask("GET", f"/v1/files/{file_id}/content")


@pytest.fixture
def wire(service: Stack, shared_key: str) -> Wire:
    return Wire(service, shared_key)


def test_the_lines_of_a_completed_batch(wire: Wire) -> None:
    batch = wire.wait(wire.submit(request_line(0) + refused_line(1)), "completed")
    assert masked(wire.content(batch["output_file_id"])) == ANSWERED
    assert masked(wire.content(batch["error_file_id"])) == REFUSED


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_the_lines_of_a_batch_that_was_cut_short(wire: Wire, service: Stack, end: str) -> None:
    service.upstream.set(latency=60)
    batch_id = wire.submit(request_lines(2))
    wire.wait(batch_id, "in_progress")
    if end == "expired":
        service.installation.manage("expire_batches", batch_id, "--reason", "a test")
    else:
        wire.ask("POST", f"/v1/batches/{batch_id}/cancel", b"")
    batch = wire.wait(batch_id, end)
    assert batch["output_file_id"] is None
    assert masked(wire.content(batch["error_file_id"])) == "".join(
        f'{{"id":"batch_req_<id>","custom_id":"line-{number}","response":null,"error":{NOT_RUN[end]}}}\n'
        for number in range(2)
    )
    service.verify(batch_id)


# Refusals and request ids, whoever answers


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (request("GET", "/v1/files"), 401, None),
        (request("GET", "/nothing"), 404, "unknown_url"),
        (request("GET", "/v1/files/"), 404, "unknown_url"),
        (request("GET", "/v1/files", host="elsewhere"), 400, "bad_request"),
        (
            request("POST", "/v1/files", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
            411,
            "length_required",
        ),
    ],
    ids=["key", "path", "slash", "host", "length"],
)
def test_every_refusal_has_the_one_envelope(
    service: Stack, raw: bytes, status: int, code: str | None
) -> None:
    answer = service.server.send(raw)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert list(json.loads(answer.body)) == ["error"]
    assert list(answer.error) == ["message", "type", "param", "code"]
    assert answer.error["message"]
    assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", code)
    assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files",
        "/v1/batches",
        "/",
        "/docs/",
        "/openapi.json",
        "/livez",
        "/readyz",
        "/admin/login/",
        "/static/admin/css/base.css",
    ],
)
def test_every_answer_has_a_request_id_of_its_own(
    service: Stack, shared_key: str, path: str
) -> None:
    raw = request("GET", path, f"Authorization: Bearer {shared_key}", "X-Request-ID: mine")
    seen = [service.server.send(raw) for _ in range(2)]
    assert [answer.status for answer in seen] == [200, 200]
    first, second = (answer.headers["x-request-id"] for answer in seen)
    assert re.fullmatch("req_[0-9a-f]{32}", first)
    assert first != second
