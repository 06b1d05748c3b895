"""A suspended external user brings nothing new, and keeps what there is; a suspended account has no key that works."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import Account, ExternalUser, Owner
from console.models import Act
from console.parts import page_of
from tests.batches.factories import CHAT, start
from tests.console.operators import ask, confirm, with_permissions
from tests.factories import FILES, FileFactory, error_of, upload

BATCHES = "/v1/batches"
AS_ALICE = {"X-On-Behalf-Of": "alice"}


@pytest.fixture
def alice(account: Account) -> ExternalUser:
    return ExternalUser.objects.create(account=account, external_id="alice")


def create(client: Client, file_id: str, **headers: str) -> Any:
    form = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    return client.post(BATCHES, form, content_type="application/json", headers=headers)


def test_nothing_new_is_taken_for_a_suspended_user(
    behalf: Client, account: Account, alice: ExternalUser
) -> None:
    file = FileFactory(Owner(account, alice))
    assert alice.suspend()

    for refused in (upload(behalf, headers=AS_ALICE), create(behalf, file.pk, **AS_ALICE)):
        assert refused.status_code == 403
        assert error_of(refused)["code"] == "user_suspended"
        assert error_of(refused)["type"] == "permission_error"

    assert upload(behalf, headers={"X-On-Behalf-Of": "bob"}).status_code == 200
    assert upload(behalf).status_code == 200
    assert alice.reinstate()
    assert upload(behalf, headers=AS_ALICE).status_code == 200


def test_what_there_is_can_be_read_cancelled_and_deleted(
    behalf: Client, account: Account, alice: ExternalUser
) -> None:
    batch = start(Owner(account, alice), 2)
    file = FileFactory(Owner(account, alice))
    alice.suspend()

    assert behalf.get(f"{BATCHES}/{batch.pk}", headers=AS_ALICE).json()["status"] == "in_progress"
    assert behalf.get(f"{FILES}/{file.pk}/content", headers=AS_ALICE).getvalue()
    assert behalf.post(f"{BATCHES}/{batch.pk}/cancel", headers=AS_ALICE).status_code == 200
    assert behalf.delete(f"{FILES}/{file.pk}", headers=AS_ALICE).status_code == 200


def test_operators_suspend_and_reinstate_with_a_reason(alice: ExternalUser) -> None:
    operator = with_permissions("accounts.view_externaluser", "accounts.suspend_externaluser")

    page = confirm(operator, ask(operator, "suspend-external-users", alice), "spam")

    alice.refresh_from_db()
    assert not alice.is_active
    assert "1 external user suspended" in page.content.decode()
    assert Act.objects.get().reason == "spam"
    assert not alice.suspend()
    again = ask(operator, "suspend-external-users", alice)
    assert "suspended already" in again.content.decode()
    confirm(operator, ask(operator, "reinstate-external-users", alice))
    alice.refresh_from_db()
    assert alice.is_active


def test_a_viewer_may_not(alice: ExternalUser) -> None:
    viewer = with_permissions("accounts.view_externaluser")

    ask(viewer, "suspend-external-users", alice)
    url = page_of(alice).replace("/change/", "/do/suspend-external-users/")
    assert viewer.post(url, {"reason": "spam", "token": "t"}).status_code == 403
    alice.refresh_from_db()
    assert alice.is_active


def test_no_key_of_a_suspended_account_works(api: Client, account: Account) -> None:
    account.suspend()
    assert (api.get(FILES).status_code, upload(api).status_code) == (401, 401)

    account.reinstate()
    assert api.get(FILES).status_code == 200
