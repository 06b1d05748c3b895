"""What an account or an external user may queue and store: where it ends, who sees it, and who sets it."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.acts import LIMIT, LIMIT_USER
from accounts.models import Account, ExternalUser, Owner
from api.limits import FORM_OVERHEAD_BYTES
from batches import lifecycle, validation
from batches.models import Batch, Status
from console.acts import Verb
from console.models import Act
from console.parts import page_of
from console.text import size
from files import views
from files.models import Blob, File
from tests.batches.factories import CHAT, make_upstream, request_lines, run, submit
from tests.batches.validating import check, validated
from tests.console.operators import ask, confirm, in_role, logged_in, with_permissions
from tests.factories import LINE, AccountFactory, error_of, upload
from tests.files.test_upload import objects
from tests.support.threads import race

pytestmark = pytest.mark.django_db
AS_ALICE = {"X-On-Behalf-Of": "alice"}


@pytest.fixture
def alice(account: Account) -> ExternalUser:
    make_upstream()
    return ExternalUser.objects.create(account=account, external_id="alice")


def limit(
    holder: Account | ExternalUser, queued: int | None = None, stored: int | None = None
) -> None:
    holder.limit(queued_requests=queued, stored_bytes=stored)
    holder.refresh_from_db()


# Stored bytes


def test_an_upload_fills_the_room_to_the_last_byte_and_not_beyond(
    behalf: Client, account: Account, alice: ExternalUser, storage_dir: Path
) -> None:
    limit(alice, stored=2 * len(LINE))
    limit(account, stored=3 * len(LINE))

    assert upload(behalf, headers=AS_ALICE).status_code == 200
    second = upload(behalf, headers=AS_ALICE)
    assert second.status_code == 200
    refused = upload(behalf, headers=AS_ALICE)

    assert refused.status_code == 403
    error = error_of(refused)
    assert (error["code"], error["param"]) == ("storage_limit_reached", "file")
    assert (
        f"alice may store {2 * len(LINE)} bytes, and {2 * len(LINE)} are stored" in error["message"]
    )
    assert (File.objects.count(), Blob.objects.count()) == (2, 2)
    assert len(objects(storage_dir)) == 2

    assert upload(behalf).status_code == 200  # the account's own, and its last
    assert upload(behalf, headers={"X-On-Behalf-Of": "bob"}).status_code == 403
    behalf.delete(f"/v1/files/{second.json()['id']}", headers=AS_ALICE)
    assert upload(behalf, headers=AS_ALICE).status_code == 200


def test_what_cannot_fit_is_refused_before_it_is_received(
    api: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(account, stored=10)
    monkeypatch.setattr(views, "_store", None)  # nothing may be received

    assert upload(api, LINE + b" " * FORM_OVERHEAD_BYTES).status_code == 403


def test_a_command_says_that_there_is_no_room(account: Account, tmp_path: Path) -> None:
    limit(account, stored=1)
    file = tmp_path / "in.jsonl"
    file.write_bytes(LINE)

    with pytest.raises(CommandError, match="may store 1 bytes"):
        call_command("submit_batch", str(file), "--account", account.name, endpoint=CHAT)


@pytest.mark.django_db(transaction=True)
def test_of_two_uploads_at_once_only_one_gets_the_last_room(api: Client, account: Account) -> None:
    limit(account, stored=len(LINE))
    one, other = (lambda: upload(api).status_code for _ in range(2))

    assert sorted(race(one, other)) == [200, 403]
    assert File.objects.count() == 1


# Queued requests


def test_a_batch_beyond_what_may_be_queued_fails_as_openai_s_do(
    account: Account, alice: ExternalUser
) -> None:
    limit(account, queued=5)
    first = check(account, request_lines(3))
    second = check(Owner(account, alice), request_lines(3))

    assert first.status == Status.IN_PROGRESS
    assert second.status == Status.FAILED
    (error,) = second.errors
    assert error["code"] == "token_limit_exceeded"
    assert error["line"] is None
    assert "Limit: 5 enqueued requests; 3 are enqueued, and this batch has 3." in error["message"]
    assert error["message"].endswith("once some in_progress batches have been completed.")
    assert not second.shards.exists()

    run(first, most=1)  # what is answered makes room
    assert check(Owner(account, alice), request_lines(3)).status == Status.IN_PROGRESS


def test_what_an_operator_runs_again_is_not_refused(account: Account, alice: ExternalUser) -> None:
    limit(account, queued=1)
    refused = check(account, request_lines(2))
    assert refused.status == Status.FAILED

    lifecycle.requeue(refused, actor="operator anna")

    assert validated(refused).status == Status.IN_PROGRESS


def test_a_user_s_own_limit_holds_within_that_of_the_account(
    account: Account, alice: ExternalUser
) -> None:
    limit(account, queued=5)
    limit(alice, queued=2)

    refused = check(Owner(account, alice), request_lines(3))

    assert refused.status == Status.FAILED
    assert f"in {alice}. Limit: 2" in refused.errors[0]["message"]
    assert "Split it into several batches." in refused.errors[0]["message"]
    assert check(account, request_lines(5)).status == Status.IN_PROGRESS
    assert check(AccountFactory(), request_lines(9)).status == Status.IN_PROGRESS


@pytest.mark.django_db(transaction=True)
def test_of_two_batches_checked_at_once_only_one_gets_the_last_room(
    account: Account, alice: ExternalUser
) -> None:
    limit(account, queued=3)
    batches = [submit(account, request_lines(2)) for _ in range(2)]

    def checking(batch: Batch) -> Any:
        return lambda: validation.validate(batch.pk)

    race(*map(checking, batches))

    assert sorted(validated(batch).status for batch in batches) == ["failed", "in_progress"]


# Who sees and sets them


@pytest.mark.parametrize("kind", ["account", "external user"])
def test_the_page_has_the_limits_and_their_use(
    admin_client: Client, account: Account, alice: ExternalUser, kind: str
) -> None:
    owner: Any = account if kind == "account" else alice
    assert admin_client.get(page_of(owner)).content.decode().count("no limit") == 2
    limit(owner, queued=4, stored=2**20)
    batch = check(Owner(account, alice), request_lines(3))

    page = admin_client.get(page_of(owner)).content.decode()

    assert ">3</a> of 4" in page
    assert 'aria-label="75% of the limit used"' in page
    assert batch.held_file is not None
    assert f">{size(batch.held_file.bytes)}</a> of {size(2**20)}" in page


@pytest.mark.parametrize(("verb", "kind"), [(LIMIT, "account"), (LIMIT_USER, "external user")])
def test_operators_set_limits_with_a_reason(
    account: Account, alice: ExternalUser, verb: Verb, kind: str
) -> None:
    owner: Any = account if kind == "account" else alice
    model = kind.replace(" ", "")
    operator = with_permissions(f"accounts.view_{model}", f"accounts.limit_{model}")
    limit(owner, queued=7)

    page = ask(operator, verb.slug, owner)
    assert 'name="with-queued_requests" value="7"' in page.content.decode()
    changes = {"with-queued_requests": "1000", "with-stored_bytes": ""}
    confirm(operator, page, "too much", **changes)

    owner.refresh_from_db()
    assert (owner.max_queued_requests, owner.max_stored_bytes) == (1000, None)
    act = Act.objects.get()
    assert (act.reason, act.affected.get().outcome) == (
        "too much",
        "limited to 1,000 queued requests",
    )


@pytest.mark.parametrize(
    ("role", "may"), [("viewer", False), ("auditor", False), ("operator", True)]
)
def test_only_who_may_can_set_them(alice: ExternalUser, role: str, may: bool) -> None:
    url = page_of(alice).replace("/change/", f"/do/{LIMIT_USER.slug}/")
    answer = {"token": "t", "reason": "r", "with-queued_requests": "0", "with-stored_bytes": "0"}

    assert logged_in(in_role(role)).post(url, answer).status_code == (302 if may else 403)

    alice.refresh_from_db()
    assert alice.max_queued_requests == (0 if may else None)


def test_the_commands_set_and_lift_them(account: Account, alice: ExternalUser) -> None:
    out = StringIO()
    limits = {"queued_requests": 5, "stored_bytes": 100}
    call_command("limit_account", account.name, reason="r", json=True, stdout=out, **limits)
    text = json.loads(out.getvalue())["objects"][0]["outcome"]
    assert text == "limited to 5 queued requests and 100 stored bytes"
    user = ["limit_external_user", "alice", "--account", account.name, "--reason", "r"]
    call_command(*user, "--queued-requests", "none", "--stored-bytes", "9", stdout=out)
    with pytest.raises(CommandError, match="write a whole number, or none"):
        call_command(*user, "--queued-requests", "-1", "--stored-bytes", "9")

    account.refresh_from_db()
    alice.refresh_from_db()
    assert (account.max_queued_requests, account.max_stored_bytes) == (5, 100)
    assert (alice.max_queued_requests, alice.max_stored_bytes) == (None, 9)
