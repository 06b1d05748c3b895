"""POST /batches/{id}/cancel: stops a batch that runs, and says why it cannot stop another."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import Account, ApiKey
from batches import results
from batches.models import Batch, Status
from tests.batches.factories import codes_of, ids_of, reach, request_lines, run, start, submit
from tests.factories import client_of, error_of


def cancel(client: Client, batch: Batch, body: Any = b"") -> Any:
    return client.post(f"/v1/batches/{batch.pk}/cancel", body, content_type="application/json")


@pytest.mark.parametrize("status", [Status.VALIDATING, Status.IN_PROGRESS])
def test_a_running_batch_is_cancelling_at_once(
    api: Client, account: Account, status: Status
) -> None:
    batch = reach(submit(account, request_lines(1)), status)
    answer = cancel(api, batch)

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelling")
    assert type(answer.json()["cancelling_at"]) is int
    assert batch.history.latest("id").actor == ApiKey.objects.get().prefix


def test_a_cancelled_batch_keeps_what_is_done(api: Client, account: Account, settings: Any) -> None:
    settings.BATCH_SHARD_LINES = 2
    batch = run(start(account, 4), most=1)
    cancel(api, batch)
    results.finalize(batch.pk)

    body = api.get(f"/v1/batches/{batch.pk}").json()
    assert (body["status"], body["finalizing_at"]) == ("cancelled", None)
    assert body["request_counts"] == {"total": 4, "completed": 2, "failed": 2}
    assert ids_of(body["output_file_id"]) == ["0", "1"]
    assert codes_of(body["error_file_id"]) == ["batch_cancelled"] * 2


@pytest.mark.parametrize("status", [Status.CANCELLING, Status.CANCELLED])
def test_cancelling_again_changes_nothing(api: Client, account: Account, status: Status) -> None:
    batch = reach(submit(account, request_lines(1)), status)
    before = api.get(f"/v1/batches/{batch.pk}").content

    for _ in range(2):
        answer = cancel(api, batch)
        assert (answer.status_code, answer.content) == (200, before)
    assert batch.history.count() == len(reach_history(status))


def reach_history(status: Status) -> list[str]:
    path = ["validating", "in_progress", "cancelling", "cancelled"]
    return path[: path.index(status) + 1]


@pytest.mark.parametrize(
    "status", [Status.FINALIZING, Status.COMPLETED, Status.FAILED, Status.EXPIRED]
)
def test_what_cannot_be_cancelled_is_a_conflict_not_worth_a_retry(
    api: Client, account: Account, status: Status
) -> None:
    batch = reach(submit(account, request_lines(1)), status)
    answer = cancel(api, batch)

    assert answer.status_code == 409
    assert answer["x-should-retry"] == "false"
    assert error_of(answer) == {
        "message": f"Cannot cancel a batch with status '{status}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert Batch.objects.get().status == status


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": "x", "status": "completed"}'])
def test_a_body_does_not_matter(api: Client, account: Account, body: bytes) -> None:
    batch = submit(account, request_lines(1))
    assert cancel(api, batch, body).json()["status"] == "cancelling"


def test_a_key_that_may_only_read_cancels_nothing(account: Account) -> None:
    batch = submit(account, request_lines(1))
    answer = cancel(client_of(account, scopes=["batches:read"]), batch)
    assert answer.status_code == 403
    assert Batch.objects.get().status == Status.VALIDATING
