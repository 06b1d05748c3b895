"""GET /batches/{id}: the batch as it is, to its owner only."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import Account
from batches import results
from batches.models import Batch, Status
from batches.serializers import BatchSerializer
from batches.validation import validate
from tests.batches.factories import reach, request_line, request_lines, run, start, submit
from tests.factories import error_of

STAMPS = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
UNKNOWN = "batch_" + "0" * 32


def retrieved(client: Client, batch: Batch) -> dict[str, Any]:
    answer = client.get(f"/v1/batches/{batch.pk}")
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize("status", Status)
def test_each_state_shows_its_stamps_and_no_others(
    api: Client, account: Account, status: Status
) -> None:
    batch = reach(submit(account, request_lines(1)), status)
    body = retrieved(api, batch)

    reached = set(batch.history.values_list("to_status", flat=True))
    assert body["status"] == status
    assert {stamp for stamp in STAMPS if body[f"{stamp}_at"] is not None} == reached - {
        "validating"
    }
    assert all(type(body[f"{stamp}_at"]) is int for stamp in reached - {"validating"})


def test_the_documented_keys_are_the_keys(api: Client, account: Account) -> None:
    body = retrieved(api, submit(account, request_lines(1)))
    assert list(body) == list(BatchSerializer().fields)


def test_a_completed_batch_shows_counts_usage_and_files(api: Client, account: Account) -> None:
    batch = run(start(account, 3), failing=("1",))
    results.finalize(batch.pk)
    body = retrieved(api, batch)

    batch.refresh_from_db()
    assert body["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert body["usage"] == {
        "input_tokens": 4,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 10,
    }
    assert (body["model"], body["errors"]) == ("m", None)
    assert (body["output_file_id"], body["error_file_id"]) == (
        batch.output_file_id,
        batch.error_file_id,
    )


def test_a_failed_batch_shows_its_errors(api: Client, account: Account) -> None:
    batch = submit(account, request_line(url="/x"))
    validate(batch.pk)
    body = retrieved(api, batch)
    message = "The URL provided for this request does not match the batch endpoint."
    (error,) = body["errors"]["data"]
    assert body["errors"]["object"] == "list"
    assert error["code"] == "invalid_url"
    assert error["message"] == message
    assert ("url", 1) == (error["param"], error["line"])


@pytest.mark.parametrize("suffix", ["", "/cancel"])
def test_a_foreign_batch_is_as_absent_as_one_that_never_was(
    stranger: Client, account: Account, suffix: str
) -> None:
    batch = submit(account, request_lines(1))
    call = stranger.post if suffix else stranger.get
    foreign, unknown = (call(f"/v1/batches/{key}{suffix}") for key in (batch.pk, UNKNOWN))

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content.replace(batch.pk.encode(), UNKNOWN.encode()) == unknown.content
    assert error_of(unknown) == {
        "message": f"No batch found with id '{UNKNOWN}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    batch.refresh_from_db()
    assert batch.status == Status.VALIDATING


@pytest.mark.parametrize(
    "batch_id",
    ["batch_1", UNKNOWN.upper().replace("BATCH", "batch"), UNKNOWN + "0", "batch_%00", "batch_" + "x" * 5000],
)  # fmt: skip
def test_an_id_that_cannot_be_is_not_found(api: Client, batch_id: str) -> None:
    answer = api.get(f"/v1/batches/{batch_id}")
    assert answer.status_code == 404
    assert len(error_of(answer)["message"]) < 200


@pytest.mark.parametrize("batch_id", ["x", "file-1", "BATCH_1"])
@pytest.mark.parametrize("suffix", ["", "/cancel"])
def test_an_id_of_another_kind_is_refused(api: Client, batch_id: str, suffix: str) -> None:
    call = api.post if suffix else api.get
    answer = call(f"/v1/batches/{batch_id}{suffix}")
    assert answer.status_code == 400
    assert error_of(answer) == {
        "message": f"Invalid 'batch_id': '{batch_id}'. Expected an ID that begins with 'batch'.",
        "type": "invalid_request_error",
        "param": "batch_id",
        "code": "invalid_value",
    }
