"""Commands on keys, accounts, external users and upstreams: the console's verbs, with its refusals, reasons and log."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Account, ApiKey
from console.models import Act
from tests.batches.factories import make_upstream
from tests.factories import AccountFactory, secret_of
from tests.support.simulator import simulating

pytestmark = pytest.mark.django_db


def call(command: str, *args: str, **options: Any) -> str:
    out = StringIO()
    call_command(command, *args, stdout=out, **options)
    return out.getvalue()


def test_an_upstream_is_paused_and_resumed_with_a_reason() -> None:
    upstream = make_upstream(name="vllm")

    told = call("pause_upstream", "vllm", reason="new GPUs")
    assert told.split() == ["name", "outcome", "vllm", "paused"]
    upstream.refresh_from_db()
    assert upstream.pause_reason.startswith("command ")
    assert upstream.pause_reason.endswith(": new GPUs")
    with pytest.raises(CommandError, match="1 upstream could not be paused"):
        call("pause_upstream", "vllm", reason="again")
    told = json.loads(call("resume_upstream", "vllm", reason="there", json=True))
    (resumed,) = told["objects"]
    assert resumed == {
        "id": str(upstream.pk),
        "name": "vllm",
        "outcome": "resumed",
        "refused": False,
    }
    assert list(Act.objects.order_by("pk").values_list("reason", flat=True)) == [
        "new GPUs",
        "again",
        "there",
    ]


def test_nothing_is_done_without_a_reason_for_a_wrong_name_or_in_a_dry_run(
    account: Account,
) -> None:
    with pytest.raises(CommandError, match="--reason is needed"):
        call("suspend_account", account.name)
    with pytest.raises(CommandError, match="There is no account nobody"):
        call("suspend_account", account.name, "nobody", reason="spam")
    assert "1 account would be suspended" in call("suspend_account", account.name, dry_run=True)
    told = json.loads(call("suspend_account", account.name, dry_run=True, json=True))
    assert (told["act"], told["names"]) == ("suspend accounts", [account.name])

    account.refresh_from_db()
    assert account.is_active
    assert not Act.objects.exists()


def test_an_account_is_suspended_and_reinstated(account: Account) -> None:
    call("suspend_account", account.name, reason="spam")
    account.refresh_from_db()
    assert not account.is_active

    call("reinstate_account", account.name, reason="paid")
    account.refresh_from_db()
    assert account.is_active


def test_an_external_user_is_that_of_the_account_named(account: Account) -> None:
    ours = account.external_users.create(external_id="alice")
    theirs = AccountFactory().external_users.create(external_id="alice")

    call("suspend_external_user", "alice", account=account.name, reason="spam")

    for user, is_active in ((ours, False), (theirs, True)):
        user.refresh_from_db()
        assert user.is_active == is_active
    call("reinstate_external_user", "alice", account=account.name, reason="sorry")
    ours.refresh_from_db()
    assert ours.is_active


def test_a_key_is_revoked_by_its_prefix(account: Account) -> None:
    secret_of(account)
    key = ApiKey.objects.get()

    call("revoke_api_key", key.prefix, reason="leaked")

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert Act.objects.get().reason == "leaked"


def test_an_upstream_is_tested() -> None:
    with simulating() as url:
        upstream = make_upstream(name="vllm", base_url=url)
        assert upstream.url("/v1/models") in call("test_upstream", "vllm", dry_run=True)
        assert not Act.objects.exists()
        told = json.loads(call("test_upstream", "vllm", json=True, reason="new"))

    assert [one["status"] for one in told] == [200, 200]
    assert (Act.objects.get().verb, Act.objects.get().reason) == ("test upstreams", "new")


def test_an_upstream_that_does_not_answer_well_fails_the_command() -> None:
    make_upstream(name="nowhere", served_models=["m"])

    with pytest.raises(CommandError, match="did not answer well"):
        call("test_upstream", "nowhere")
