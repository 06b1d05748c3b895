"""Validation of whole files: what is reported of them."""

import builtins
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Account, ExternalUser, Owner
from batches import lifecycle, validation
from batches.models import Batch, Status
from batches.serializers import represent_batch
from files.models import FilePart, Purpose
from files.storage import storage
from tests.batches.factories import CHAT, make_upstream, request_line, request_lines, submit
from tests.batches.validating import BOM, check, planned, validated
from tests.factories import AccountFactory, FileFactory

A, B = request_line("a"), request_line("b")
UNPARSEABLE = "This line is not parseable as valid JSON."
EMPTY = "The input file is empty. Please ensure that the batch contains at least one request."
EMBEDDINGS = "/v1/embeddings"


@pytest.fixture(autouse=True)
def _upstream(db: None) -> None:
    make_upstream(served_models=["m", "n"])


def problems(batch: Batch) -> list[tuple[Any, ...]]:
    assert (batch.status, batch.total) == (Status.FAILED, 0)
    assert not batch.shards.exists()
    errors = represent_batch(batch)["errors"]["data"]
    assert all(list(error) == ["code", "message", "param", "line"] for error in errors)
    return [tuple(error.values()) for error in errors]


# Whole files


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (A + B, [1, 2]),
        (A + B.rstrip(), [1, 2]),
        (A + b"\n \t\n\r\n" + B + b"\n\n", [1, 5]),
        ((A + B).replace(b"\n", b"\r\n"), [1, 2]),
        (BOM + A + B, [1, 2]),
        (BOM + b"\n" + A, [2]),
        (A.replace(b"[]", '["\u2028\x85\u2029"]'.encode()), [1]),
    ],
    ids=["plain", "no last newline", "blank lines", "CRLF", "BOM", "BOM alone", "odd separators"],
)
def test_a_good_file_starts(account: Account, content: bytes, lines: list[int]) -> None:
    batch = check(account, content)

    assert (batch.status, batch.total, batch.errors) == (Status.IN_PROGRESS, len(lines), None)
    assert batch.model == "m"
    assert batch.upstream is not None
    assert [request.line for request in planned(batch)] == lines


@pytest.mark.parametrize("content", [b"\n", b" \r\n\t\n", BOM, BOM + b"\n\n"])
def test_a_file_without_requests_is_refused(account: Account, content: bytes) -> None:
    assert problems(check(account, content)) == [("empty_file", EMPTY, None, None)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_encoding_is_named(account: Account, encoding: str) -> None:
    found = problems(check(account, (A + B).decode().encode(encoding)))
    message = "The input file must be UTF-8, but it looks like UTF-16 or UTF-32."
    assert found[0] == ("invalid_encoding", message, None, 1)


def test_a_bom_is_ignored_at_the_very_beginning_only(account: Account) -> None:
    batch = check(account, A + BOM + B)
    assert problems(batch) == [("invalid_json_line", UNPARSEABLE, None, 2)]


def test_problems_come_in_the_order_of_lines_with_physical_numbers(account: Account) -> None:
    content = b"".join(
        [b"\n", b"{\n", A, b"\n", request_line("b", url="/x"), A, request_line("c", '{"model": "z", "messages": []}')]
    )  # fmt: skip
    batch = check(account, content)

    assert [(code, param, line) for code, _, param, line in problems(batch)] == [
        ("invalid_json_line", None, 2),
        ("invalid_url", "url", 5),
        ("duplicate_custom_id", "custom_id", 6),
        ("model_not_found", "body.model", 7),
    ]


# Limits


@pytest.mark.parametrize(("excess", "accepted"), [(0, True), (1, False)])
def test_a_line_may_have_so_many_bytes(
    account: Account, settings: Settings, excess: int, accepted: bool
) -> None:
    settings.BATCH_MAX_LINE_BYTES = 500
    text = "x" * (500 + excess - len(request_line(body='{"model": "m", "messages": ""}')) + 1)
    batch = check(account, request_line(body=f'{{"model": "m", "messages": "{text}"}}') + B)

    if accepted:
        assert batch.status == Status.IN_PROGRESS
    else:
        message = "This line is longer than 500 bytes."
        assert problems(batch) == [("line_too_long", message, None, 1)]


@pytest.mark.parametrize(("count", "accepted"), [(5, True), (6, False)])
def test_a_file_may_have_so_many_requests(
    account: Account, settings: Settings, count: int, accepted: bool
) -> None:
    settings.BATCH_MAX_REQUESTS = 5
    batch = check(account, request_lines(count).replace(b"\n", b"\n\n"))

    if accepted:
        assert batch.total == 5
    else:
        message = "The input file has more than 5 requests, the most a batch may have. Split it into several batches."
        assert problems(batch) == [("too_many_tasks", message, None, None)]


@pytest.mark.parametrize(("inputs", "accepted"), [('["x", "y"]', True), ('["x", "y", "z"]', False)])
def test_an_embeddings_batch_may_have_so_many_inputs(
    account: Account, settings: Settings, inputs: str, accepted: bool
) -> None:
    settings.BATCH_MAX_INPUTS = 3
    content = b"".join(
        request_line(custom_id, f'{{"model": "m", "input": {value}}}', url=EMBEDDINGS)
        for custom_id, value in (("a", inputs), ("b", '"one"'))
    )
    batch = check(account, content, endpoint=EMBEDDINGS)

    if accepted:
        assert batch.total == 2
    else:
        message = "The input file has more than 3 inputs, the most a batch may have. Split it into several batches."
        assert problems(batch) == [("too_many_tasks", message, "body.input", None)]


@pytest.mark.parametrize(("bad", "listed"), [(99, 99), (100, 100), (101, 99), (30_000, 99)])
def test_at_most_100_errors_are_listed(account: Account, bad: int, listed: int) -> None:
    found = problems(check(account, b"{\n" * bad))

    assert found[:listed] == [
        ("invalid_json_line", UNPARSEABLE, None, line) for line in range(1, listed + 1)
    ]
    if bad > 100:
        message = f"The input file has {bad} errors; the first 99 are listed."
        assert found[listed:] == [("too_many_errors", message, None, None)]
    else:
        assert len(found) == listed


def test_duplicates_take_their_place_among_the_first_100_errors(account: Account) -> None:
    content = A + b"{\n" * 60 + A * 60 + b"{\n" * 60
    found = problems(check(account, content))

    assert [error[3] for error in found] == [*range(2, 101), None]
    assert found[59][0] == "invalid_json_line"
    assert found[60][0] == "duplicate_custom_id"
    assert "180 errors" in found[-1][1]


# Models


def test_a_model_nobody_serves_is_refused_on_each_line(account: Account) -> None:
    content = b"".join(request_line(str(n), '{"model": "gpt-0", "messages": []}') for n in range(2))
    message = "The provided model 'gpt-0' is not supported by the Batch API."
    assert problems(check(account, content)) == [
        ("model_not_found", message, "body.model", 1),
        ("model_not_found", message, "body.model", 2),
    ]


def test_a_second_model_is_refused(account: Account) -> None:
    other = request_line("b", '{"model": "n", "messages": []}')
    message = (
        "The model 'n' for this request does not match the rest of the batch. "
        "Each batch must contain requests for a single model."
    )
    found = problems(check(account, A + other + request_line("c")))
    assert found == [("mismatched_model", message, "body.model", 2)]


@pytest.mark.parametrize("model", ["x" * 10_000, "x" * 256, "\\u0000", "m\\n"])
def test_a_model_name_no_server_has_is_refused(account: Account, model: str) -> None:
    make_upstream(served_models=[])  # takes any other
    batch = check(account, request_line(body=f'{{"model": "{model}", "messages": []}}'))

    ((code, _, param, line),) = problems(batch)
    assert (code, param, line) == ("model_not_found", "body.model", 1)


def test_a_model_name_is_quoted_in_part(account: Account) -> None:
    body = f'{{"model": "{"x" * 10_000}", "messages": []}}'
    ((_, message, _, _),) = problems(check(account, request_line(body=body)))
    assert len(message) < 200


# Duplicates


def duplicate(custom_id: str, first: int) -> str:
    return (
        f"The custom_id '{custom_id}' for this request is a duplicate of another request (line {first}). "
        "The custom_id parameter must be unique for each request in a batch."
    )


@pytest.mark.parametrize("again", [A, request_line("a", '{"model": "m", "messages": [1]}'), A.replace(b'"a"', b'"\\u0061"')])  # fmt: skip
def test_a_repeated_custom_id_is_refused(account: Account, again: bytes) -> None:
    content = A + request_lines(2000) + again
    assert problems(check(account, content)) == [
        ("duplicate_custom_id", duplicate("a", 1), "custom_id", 2002)
    ]


def test_each_repetition_names_the_first(account: Account) -> None:
    batch = check(account, A + B + A + b"\n" + A + B)
    assert [(error[1], error[3]) for error in problems(batch)] == [
        (duplicate("a", 1), 3),
        (duplicate("a", 1), 5),
        (duplicate("b", 2), 6),
    ]


@pytest.mark.parametrize("hashes", [lambda text: 7, lambda text: builtins.hash(text) % 3])
def test_ids_whose_hashes_collide_are_told_apart(
    account: Account, monkeypatch: pytest.MonkeyPatch, hashes: Callable[[str], int]
) -> None:
    monkeypatch.setattr(validation, "hash", hashes, raising=False)

    assert check(account, request_lines(50)).total == 50
    assert problems(check(account, request_lines(50) + request_line("7"))) == [
        ("duplicate_custom_id", duplicate("7", 8), "custom_id", 51)
    ]


def test_ids_that_only_look_alike_differ(account: Account) -> None:
    content = b"".join(request_line(custom_id) for custom_id in ("é", "e\u0301", "A", "a", "a "))
    assert check(account, content).total == 5


# The file itself


def cannot_find(file_id: str, account: Account) -> list[tuple[Any, ...]]:
    message = f"Cannot find file {file_id}, or organization {account} does not have access to it."
    return [("invalid_request", message, "file_id", None)]


def submit_id(account: Account, file_id: str) -> Batch:
    asked = {"endpoint": CHAT, "completion_window": "24h", "input_file_id": file_id}
    return validated(lifecycle.submit(Owner(account), "test", **asked))


def test_a_file_that_is_not_the_callers_is_as_absent_as_one_that_never_was(
    account: Account,
) -> None:
    user = ExternalUser.objects.create(account=account, external_id="user")
    for owner in (Owner(AccountFactory()), Owner(account, user)):
        file_id = FileFactory(owner).pk
        assert problems(submit_id(account, file_id)) == cannot_find(file_id, account)
    assert problems(submit_id(account, "file-x")) == cannot_find("file-x", account)


def test_a_file_of_another_purpose_is_refused(account: Account) -> None:
    file = FileFactory(account, purpose=Purpose.BATCH_OUTPUT)
    message = f"The input file must have the purpose 'batch', but {file.pk} has 'batch_output'."
    assert problems(submit_id(account, file.pk)) == [("invalid_request", message, "file_id", None)]


def test_a_file_whose_bytes_are_lost_is_refused(account: Account) -> None:
    batch = submit(account, A)
    storage().delete(FilePart.objects.get(file=batch.input_file_id).blob_id)

    message = f"The content of the input file {batch.input_file_id} is no longer in the storage."
    assert problems(validated(batch)) == [("input_file_missing", message, "file_id", None)]


def test_a_file_whose_bytes_have_changed_is_refused(account: Account) -> None:
    batch = submit(account, A)
    file = batch.held_file
    assert file is not None
    file.sha256 = hashlib.sha256(B).hexdigest()
    file.save()

    message = f"The content of the input file {file.pk} has changed since it was uploaded."
    assert problems(validated(batch)) == [("input_modified", message, "file_id", None)]
