"""POST /batches: what is asked for is kept, and what is wrong is told in the one envelope."""

import json
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import Account, ApiKey
from batches.models import Batch
from tests.batches.factories import CHAT
from tests.factories import FileFactory, client_of, error_of

BATCHES = "/v1/batches"
ASKED = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}


def create(client: Client, body: Any = None, **changes: Any) -> Any:
    """Send a create. `...` leaves a field out; a body of bytes goes out as it is."""
    if body is None:
        asked = ASKED | changes
        body = {name: value for name, value in asked.items() if value is not ...}
    content = body if isinstance(body, bytes) else json.dumps(body)
    return client.post(BATCHES, content, content_type="application/json")


def refused(response: Any, status: int = 400) -> tuple[str | None, str | None, str]:
    error = error_of(response)
    assert response.status_code == status, error
    assert error["type"] == "invalid_request_error"
    assert not Batch.objects.exists()
    return error["code"], error["param"], error["message"]


@pytest.mark.parametrize("root", ["/v1", "/api/v1/llm"])
def test_a_new_batch_is_answered_with_every_key_in_order(
    api: Client, account: Account, root: str
) -> None:
    file = FileFactory(account)
    asked = ASKED | {"input_file_id": file.pk, "metadata": {"b": "1", "a": "2"}}
    answer = api.post(f"{root}/batches", asked, content_type="application/json")

    batch = Batch.objects.get()
    assert answer.status_code == 200
    created_at = int(batch.created_at.timestamp())
    assert list(answer.json().items()) == list(
        {
            "id": batch.pk,
            "object": "batch",
            "endpoint": CHAT,
            "model": None,
            "errors": None,
            "input_file_id": file.pk,
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": created_at,
            "in_progress_at": None,
            "expires_at": created_at + 86400,
            "finalizing_at": None,
            "completed_at": None,
            "failed_at": None,
            "expired_at": None,
            "cancelling_at": None,
            "cancelled_at": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "usage": {
                "input_tokens": 0,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 0,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 0,
            },
            "max_concurrency": 512,
            "metadata": {"b": "1", "a": "2"},
        }.items()
    )


def test_a_batch_belongs_to_whoever_the_key_acts_for(behalf: Client, account: Account) -> None:
    answer = behalf.post(
        BATCHES, ASKED, content_type="application/json", headers={"X-On-Behalf-Of": "them"}
    )
    batch = Batch.objects.get(pk=answer.json()["id"])
    assert batch.external_user is not None
    assert (batch.account, batch.external_user.external_id) == (account, "them")
    assert batch.created_by == ApiKey.objects.get().prefix


@pytest.mark.parametrize("file_id", ["file-1", "file-" + "0" * 32, "x", "\U0001f600", " "])
def test_an_unknown_file_is_no_reason_to_refuse(api: Client, file_id: str) -> None:
    answer = create(api, input_file_id=file_id)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["input_file_id"]) == ("validating", file_id)


@pytest.mark.parametrize(
    ("asked", "given"), [(..., 6), (None, 6), (1, 1), (9, 9), (10, 9), (2**31 - 1, 9)]
)
def test_concurrency_has_a_default_and_a_cap(
    api: Client, settings: Settings, asked: Any, given: int
) -> None:
    settings.BATCH_DEFAULT_LINE_CONCURRENCY, settings.BATCH_MAX_LINE_CONCURRENCY = 6, 9
    assert create(api, max_concurrency=asked).json()["max_concurrency"] == given


@pytest.mark.parametrize(
    ("expires_after", "seconds"),
    [
        (..., None),
        (None, None),
        ({"anchor": "created_at", "seconds": 3600}, 3600),
        ({"anchor": "created_at", "seconds": 2_592_000}, 2_592_000),
    ],
)
def test_results_are_kept_as_long_as_asked(
    api: Client, expires_after: Any, seconds: int | None
) -> None:
    assert create(api, output_expires_after=expires_after).status_code == 200
    assert Batch.objects.get().output_expires_after_seconds == seconds


@pytest.mark.parametrize(
    "metadata",
    [..., None, {}, {f"{n}": "v" for n in range(16)}, {"k" * 64: "v" * 512}, {"é": ""}],
)
def test_metadata_within_the_limits_comes_back(api: Client, metadata: Any) -> None:
    expected = None if metadata is ... else metadata
    assert create(api, metadata=metadata).json()["metadata"] == expected


def test_unknown_fields_are_ignored_and_set_nothing(api: Client) -> None:
    own = {"id": "batch_x", "status": "completed", "created_at": 1, "owner": 1, "account": 99}
    answer = create(api, **own, extra={"a": 1})
    batch = Batch.objects.get()
    assert answer.json()["id"] == batch.pk != "batch_x"
    assert (answer.json()["status"], batch.attempt) == ("validating", 1)


def test_more_endpoints_and_windows_are_a_setting(api: Client, settings: Settings) -> None:
    settings.BATCH_ENDPOINTS, settings.BATCH_COMPLETION_WINDOWS = ["/v1/responses"], ["1h"]
    answer = create(api, endpoint="/v1/responses", completion_window="1h").json()
    assert answer["expires_at"] - answer["created_at"] == 3600
    assert create(api).status_code == 400


# Refusals

ENDPOINTS = "'/v1/chat/completions', '/v1/embeddings', and '/v1/images/generations'"


@pytest.mark.parametrize("field", list(ASKED))
def test_a_required_field_must_be_there(api: Client, field: str) -> None:
    missing = (
        "missing_required_parameter",
        field,
        f"Missing required parameter: '{field}'.",
    )
    assert refused(create(api, **{field: ...})) == missing


@pytest.mark.parametrize("field", list(ASKED))
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (5, "an integer"),
        (1.5, "a number"),
        (True, "a boolean"),
        (["x"], "an array"),
        ({}, "an object"),
        (None, "null"),
    ],
)
def test_a_text_must_be_a_text(api: Client, field: str, value: Any, kind: str) -> None:
    code, param, message = refused(create(api, **{field: value}))
    assert (code, param) == ("invalid_type", field)
    assert message == f"Invalid type for '{field}': expected a string, but got {kind} instead."


@pytest.mark.parametrize("value", ["", "x" * 65, "x" * 10_000])
def test_a_file_id_has_a_length(api: Client, value: str) -> None:
    _, param, message = refused(create(api, input_file_id=value))
    assert param == "input_file_id"
    assert len(message) < 300


@pytest.mark.parametrize(
    "endpoint", ["/v1/x", "", CHAT.upper(), CHAT + "/", "http://127.0.0.1" + CHAT]
)
def test_an_endpoint_is_one_of_those_supported(api: Client, endpoint: str) -> None:
    message = f"Invalid value: '{endpoint}'. Supported values are: {ENDPOINTS}."
    assert refused(create(api, endpoint=endpoint)) == ("invalid_value", "endpoint", message)


@pytest.mark.parametrize("window", ["24H", "1h", "", "999999999h", "-1h", " 24h"])
def test_a_window_is_one_of_those_supported(api: Client, window: str) -> None:
    message = f"Invalid value: '{window}'. Supported values are: '24h'."
    found = refused(create(api, completion_window=window))
    assert found == ("invalid_value", "completion_window", message)


@pytest.mark.parametrize(
    ("metadata", "code", "param", "message"),
    [
        (
            {"tags": ["a"]},
            "invalid_type",
            "metadata.tags",
            "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
        ),
        ({"k": 5}, "invalid_type", "metadata.k", "got an integer"),
        ({"k": None}, "invalid_type", "metadata.k", "got null"),
        ({"k": {}}, "invalid_type", "metadata.k", "got an object"),
        ([], "invalid_type", "metadata", "expected an object, but got an array"),
        ("x", "invalid_type", "metadata", "expected an object, but got a string"),
        (
            {f"{n}": "v" for n in range(17)},
            "object_above_max_properties",
            "metadata",
            (
                "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
                "but got an object with 17 properties instead."
            ),
        ),
        ({"k" * 65: "v"}, "property_name_above_max_length", "metadata", "got 65"),
        ({"": "v"}, "property_name_below_min_length", "metadata", "empty"),
        ({"k": "v" * 513}, "string_above_max_length", "metadata.k", "got 513"),
    ],
)
def test_metadata_has_limits(
    api: Client, metadata: Any, code: str, param: str, message: str
) -> None:
    found = refused(create(api, metadata=metadata))
    assert found[:2] == (code, param)
    assert message in found[2]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0, "integer_below_min_value"),
        (-1, "integer_below_min_value"),
        (2**31, "integer_above_max_value"),
        (10**100, "integer_above_max_value"),
        ("5", "invalid_type"),
        (1.0, "invalid_type"),
        (True, "invalid_type"),
        ([], "invalid_type"),
    ],
)
def test_concurrency_is_a_positive_integer(api: Client, value: Any, code: str) -> None:
    assert refused(create(api, max_concurrency=value))[:2] == (code, "max_concurrency")


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        ({"anchor": "created_at", "seconds": 3599}, "integer_below_min_value", "seconds"),
        ({"anchor": "created_at", "seconds": 2_592_001}, "integer_above_max_value", "seconds"),
        ({"anchor": "created_at", "seconds": "3600"}, "invalid_type", "seconds"),
        ({"anchor": "now", "seconds": 3600}, "invalid_value", "anchor"),
        ({"seconds": 3600}, "missing_required_parameter", "anchor"),
        ({"anchor": "created_at"}, "missing_required_parameter", "seconds"),
        ({}, "missing_required_parameter", "anchor"),
    ],
)
def test_the_life_of_results_has_bounds(api: Client, value: Any, code: str, param: str) -> None:
    found = refused(create(api, output_expires_after=value))
    assert found[:2] == (code, f"output_expires_after.{param}")


def test_the_life_of_results_is_an_object(api: Client) -> None:
    assert refused(create(api, output_expires_after=5))[1] == "output_expires_after"


# Also sent through a real server, in tests/contract/test_bad_input.py
WRONG_BODIES = [
    b"[]",
    b'"x"',
    b"null",
    b"{",
    b"{'a': 1}",
    b"\xff\xfe{\x00}\x00",
    b'{"a": "\xff"}',
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": 1, "a": 2}',
    b'{"metadata": {"k": "1", "k": "2"}}',
    b'{"a": "\\u0000"}',
    b'{"a": "\\ud800"}',
    b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}",
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("body", WRONG_BODIES)
def test_a_body_is_one_strict_json_object(api: Client, body: bytes) -> None:
    code, param, message = refused(create(api, body))
    assert (code, param) == ("invalid_json", None)
    assert message.startswith("We could not parse the JSON body of your request: ")


def test_an_empty_body_asks_for_nothing(api: Client) -> None:
    assert refused(create(api, b""))[:2] == ("missing_required_parameter", "input_file_id")


def test_a_body_has_a_size(api: Client) -> None:
    body = json.dumps(ASKED | {"metadata": {"k": "v" * 1_100_000}}).encode()
    assert refused(create(api, body), status=413)[0] == "request_too_large"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type_is_refused(api: Client, kind: str) -> None:
    answer = api.generic("POST", BATCHES, json.dumps(ASKED), content_type=kind)
    assert refused(answer, status=415)[0] == "unsupported_type"


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "latin-1"])
def test_a_body_in_another_charset_is_refused(api: Client, charset: str) -> None:
    kind = f"application/json; charset={charset}"
    answer = api.generic("POST", BATCHES, json.dumps(ASKED), content_type=kind)
    assert refused(answer)[0] == "invalid_json"


def test_a_key_without_the_scope_creates_nothing(account: Account) -> None:
    answer = create(client_of(account, scopes=["batches:read", "files:write"]))
    assert answer.status_code == 403
    assert error_of(answer)["code"] == "missing_scope"
    assert not Batch.objects.exists()
