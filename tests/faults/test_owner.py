"""F61: a key is revoked, or an account suspended, while its batch runs: the batch runs on, and is read later."""

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import Account, ApiKey
from batches import results
from batches.execution import run_turn
from batches.models import Batch, Status
from batches.verification import verify
from tests.batches.executor.scripted import Call, reply
from tests.batches.factories import start
from tests.batches.test_execution import model_server, with_rows
from tests.factories import client_of

pytestmark = pytest.mark.django_db(transaction=True)
LINES = 40


def revoke_keys(account: Account) -> None:
    for key in ApiKey.objects.filter(account=account):
        assert key.revoke()


def suspend(account: Account) -> None:
    assert account.suspend()


@pytest.mark.parametrize("shut_out", [revoke_keys, suspend], ids=lambda f: f.__name__)
def test_the_batch_runs_on_and_its_results_wait_for_a_live_key(
    account: Account, api: Client, stranger: Client, shut_out: Callable[[Account], None]
) -> None:
    async def script(call: Call) -> bytes:
        if call.number == 1:
            await with_rows(lambda: shut_out(account))
        return reply()

    with model_server(script) as server:
        batch = start(account, LINES)
        run_turn(lambda: False)
    results.finalize(batch.pk)

    batch = Batch.objects.get()
    assert len(server.calls) == LINES
    assert (batch.status, batch.completed, verify(batch)) == (Status.COMPLETED, LINES, [])
    for path in (f"batches/{batch.pk}", f"files/{batch.output_file_id}/content"):
        assert api.get(f"/v1/{path}").status_code == 401
        assert stranger.get(f"/v1/{path}").status_code == 404
    account.refresh_from_db()
    if not account.is_active:
        account.reinstate()
    assert client_of(account).get(f"/v1/batches/{batch.pk}").json()["status"] == "completed"
