"""Uploads and downloads through a real web server, written out byte by byte: reliability.md 4.1 and 4.3.

What the server itself refuses (a Content-Length that is no number) has no envelope; all else has one.
"""

import json

import pytest

from accounts.models import Account, ApiKey
from files.models import File
from tests.factories import LINE, AccountFactory, secret_of
from tests.support.server import Answer, Server, request

FORM = "Content-Type: multipart/form-data; boundary=BB"
PURPOSE = b'Content-Disposition: form-data; name="purpose"\r\n\r\nbatch'
FILE = b'Content-Disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n' + LINE
WHOLE = b"--BB\r\n" + FILE + b"\r\n--BB\r\n" + PURPOSE + b"\r\n--BB--\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(b"--BB\r\n" + part + b"\r\n" for part in parts) + b"--BB--\r\n"


@pytest.fixture
def tenant(transactional_db: None) -> Account:
    return AccountFactory()


@pytest.fixture
def key(tenant: Account) -> str:
    """An Authorization header that may do everything, also act for others."""
    secret = secret_of(tenant, on_behalf_of=ApiKey.OnBehalfOf.ALLOWED)
    return f"Authorization: Bearer {secret}"


def check_envelope(answer: Answer) -> None:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "body",
    [
        WHOLE,
        form(PURPOSE, FILE),
        b"a preamble\r\n" + WHOLE + b"\r\nan epilogue",
        form(FILE.replace(b'"in.jsonl"', b"\"x\"; filename*=UTF-8''..%2F..%2Fin.jsonl"), PURPOSE),
        form(b"Content-Transfer-Encoding: binary\r\n" + FILE, PURPOSE),
    ],
    ids=["file first", "purpose first", "preamble", "filename*", "binary encoding"],
)
def test_a_form_is_read_however_it_is_written(body: bytes, server: Server, key: str) -> None:
    answer = server.send(request("POST", "/v1/files", key, FORM, body=body))

    assert answer.status == 200
    assert json.loads(answer.body)["filename"] == "in.jsonl"
    assert json.loads(answer.body)["bytes"] == len(LINE)


LONG = "Content-Type: multipart/form-data; boundary=" + "B" * 300


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        (["Content-Type: application/json"], b"{}", 415, "unsupported_type"),
        ([], WHOLE, 415, "unsupported_type"),
        (["Content-Type: multipart/form-data; charset*=no''x"], WHOLE, 415, "unsupported_type"),
        (["Content-Type: multipart/form-data"], WHOLE, 400, "invalid_multipart"),
        ([LONG], WHOLE, 400, "invalid_multipart"),
        ([FORM.replace("BB", "CC")], WHOLE, 400, "invalid_multipart"),
        ([FORM], b"", 400, "invalid_multipart"),
        ([FORM], b"--BB--\r\n", 400, "missing_required_parameter"),
        ([FORM], WHOLE.removesuffix(b"--BB--\r\n"), 400, "invalid_multipart"),
        ([FORM], form(PURPOSE, FILE)[:-20], 400, "invalid_multipart"),
        ([FORM], form(b"X: " + b"y" * 200_000, FILE), 400, "invalid_multipart"),
        ([FORM], form(FILE, FILE), 400, "too_many_files"),
        ([FORM], form(*[FILE] * 150), 400, "too_many_files"),
        (
            [FORM],
            form(*[PURPOSE.replace(b'e"', b'e%d"' % n) for n in range(1500)]),
            400,
            "too_many_fields",
        ),
        ([FORM], form(b"Content-Transfer-Encoding: base64\r\n" + FILE), 400, "invalid_multipart"),
        ([FORM], form(FILE.replace(b"in", b"\xff\xfe")), 400, "missing_required_parameter"),
        ([FORM], form(FILE.replace(b"in.jsonl", b"..")), 400, "missing_required_parameter"),
        ([FORM, "Content-Encoding: gzip"], WHOLE, 415, "unsupported_type"),
        ([FORM, "Transfer-Encoding: chunked"], b"0\r\n\r\n", 411, "length_required"),
        ([FORM, f"Content-Length: {10 * 2**30}"], b"", 413, "file_too_large"),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, bytes) else "",
)
def test_a_bad_upload_is_refused_and_leaves_nothing(
    headers: list[str], body: bytes, status: int, code: str, server: Server, key: str
) -> None:
    before = server.stored()

    answer = server.send(request("POST", "/v1/files", key, *headers, body=body))

    assert (answer.status, answer.error["code"]) == (status, code)
    check_envelope(answer)
    assert not File.objects.exists()
    assert server.stored() == before


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: -5"],
        ["Content-Length: abc"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked"],
    ],
)
def test_a_body_of_unclear_length_is_refused(headers: list[str], server: Server, key: str) -> None:
    answer = server.send(request("POST", "/v1/files", key, FORM, *headers, body=b"ZZ\r\nxx"))

    assert answer.status in (400, 411)
    assert not File.objects.exists()


@pytest.mark.parametrize("body", [WHOLE, WHOLE[:60]], ids=["whole form", "half a form"])
def test_an_upload_the_client_gives_up_leaves_nothing(
    body: bytes, server: Server, key: str
) -> None:
    before = server.stored()
    length = f"Content-Length: {len(WHOLE) + 1000}"

    answer = server.send(
        request("POST", "/v1/files", key, FORM, length, body=body), half_close=True
    )

    assert answer.status in (0, 400)
    assert not File.objects.exists()
    assert server.stored() == before


@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]])
def test_a_wrong_key_is_refused_before_the_body_is_sent(expect: list[str], server: Server) -> None:
    headers = ["Authorization: Bearer wrong", FORM, "Content-Length: 100000000", *expect]

    answer = server.send(request("POST", "/v1/files", *headers, body=b""))

    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/files/", 404),
        ("GET", "//v1/files", 404),
        ("GET", "/nothing/here", 404),
        ("GET", "/v1/files/file-%00", 404),
        ("GET", "/v1/files/%ff%fe", 404),
        ("GET", "/v1/files/\u00fc", 404),
        ("GET", "/v1/files/" + "x" * 5000, 404),
        ("GET", "/v1/files/../files", 404),
        ("GET", "/v1/files/%2e%2e", 404),
        ("GET", "/v1/files/FILE-" + "A" * 32, 404),
        ("GET", "/v1/files/batch_" + "a" * 32, 404),
        ("GET", "/v1/files/\U0001f642/content", 404),
        ("DELETE", "/v1/files/file-x", 404),
        ("PUT", "/v1/files", 405),
        ("OPTIONS", "/v1/files", 405),
        ("TRACE", "/v1/files", 405),
        ("PATCH", "/v1/files/file-" + "a" * 32, 405),
        ("GET", "/v1/files?limit=%ff", 400),
    ],
    ids=lambda value: str(value)[:30],
)
def test_any_path_and_method_is_answered_in_the_envelope(
    method: str, target: str, status: int, server: Server, key: str
) -> None:
    answer = server.send(request(method, target, key))

    assert answer.status == status
    check_envelope(answer)
    if status == 405:
        assert "get" in answer.headers["allow"]


def test_a_wrong_host_is_refused_in_the_envelope(server: Server, key: str) -> None:
    answer = server.send(request("GET", "/v1/files", key, host="evil.example"))

    assert answer.status == 400
    check_envelope(answer)


@pytest.mark.parametrize(
    "headers",
    [
        ["X-On-Behalf-Of: "],
        ["X-On-Behalf-Of: a b"],
        ["X-On-Behalf-Of: a\tb"],
        ["X-On-Behalf-Of: " + "a" * 129],
        ["X-On-Behalf-Of: " + "a" * 9000],
        ["X-On-Behalf-Of: \u00fc"],
        ["X-On-Behalf-Of: a", "X-On-Behalf-Of: b"],
        ["X-On-Behalf-Of: a", "X-On-Behalf-Of: a"],
        ["X-On-Behalf-Of: a\r\n b"],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_malformed_external_user_is_refused(
    headers: list[str], server: Server, tenant: Account, key: str
) -> None:
    answer = server.send(request("GET", "/v1/files", key, *headers))

    assert answer.status in (400, 431)
    assert not tenant.external_users.exists()


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        ["Authorization: "],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        ["Authorization: Basic YTpi"],
        ["Authorization: Bearer \u00fc"],
        ["Authorization: Bearer " + "x" * 10_000],
        ["Authorization: Bearer a", "Authorization: Bearer b"],
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_missing_or_wrong_key_is_refused(authorization: list[str], server: Server) -> None:
    answer = server.send(request("GET", "/v1/files", *authorization))

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "bearer")
    check_envelope(answer)


def test_a_download_has_a_length_and_a_head_no_body(server: Server, key: str) -> None:
    uploaded = server.send(request("POST", "/v1/files", key, FORM, body=WHOLE))
    target = f"/v1/files/{json.loads(uploaded.body)['id']}/content"

    answers = [server.send(request(method, target, key)) for method in ("GET", "HEAD")]

    assert [answer.body for answer in answers] == [LINE, b""]
    assert [answer.headers["content-length"] for answer in answers] == [str(len(LINE))] * 2


def test_a_deletion_with_an_empty_json_body_works(server: Server, key: str) -> None:
    uploaded = server.send(request("POST", "/v1/files", key, FORM, body=WHOLE))
    target = f"/v1/files/{json.loads(uploaded.body)['id']}"
    before = server.stored()

    answer = server.send(request("DELETE", target, key, "Content-Type: application/json", body=b""))

    assert answer.status == 200
    assert len(server.stored()) == len(before) - 1
