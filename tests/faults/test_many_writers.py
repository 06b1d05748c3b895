"""F40: several engines and several callers write at once, on SQLite through one lock: nobody is told of it."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from accounts.models import Account
from batches import results
from batches.execution import run_turn
from batches.models import Batch, Status
from batches.verification import verify
from tests.batches.executor.scripted import reply
from tests.batches.factories import request_lines, start
from tests.batches.test_execution import model_server
from tests.support.threads import race

pytestmark = pytest.mark.django_db(transaction=True)
ENGINES, CALLERS = 4, 4
LINES = 200
UPLOADS = 8  # of each caller, and a batch for each


def test_nobody_is_told_that_the_database_is_busy(
    account: Account, api: Client, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BATCH_SHARD_LINES = 5

    def call() -> list[int]:
        statuses = []
        for _ in range(UPLOADS):
            file = SimpleUploadedFile("in.jsonl", request_lines(1))
            uploaded = api.post("/v1/files", {"purpose": "batch", "file": file})
            asked = {
                "input_file_id": uploaded.json().get("id", ""),
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            }
            created = api.post("/v1/batches", asked, content_type="application/json")
            statuses += [uploaded.status_code, created.status_code]
        return statuses

    def turn() -> list[int]:
        run_turn(lambda: False)
        return []

    with model_server(lambda call: reply()) as server:
        batch = start(account, LINES)
        statuses = race(*[turn] * ENGINES, *[call] * CALLERS)

    assert {status for some in statuses for status in some} == {200}
    assert Batch.objects.count() == 1 + UPLOADS * CALLERS
    assert len(server.calls) == LINES
    assert "locked" not in caplog.text
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
