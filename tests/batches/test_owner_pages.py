"""The pages of accounts, external users and workers: what is theirs, and the end of all of it at once."""

import re
from typing import Any
from urllib.parse import quote_plus

import pytest
from django.conf import settings
from django.contrib.admin.utils import quote
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse

from accounts.models import Account, ApiKey, ExternalUser, Owner
from api.clock import database_now
from batches import traffic
from batches.acts import owners
from batches.admin import owners as owners_admin
from batches.models import Batch, Engine, Host, OwnerHour, Segment, Shard, Status
from console.models import Act, ActObject
from console.parts import page_of
from files.models import File
from tests.batches.factories import HOUR, make_engine, make_host, run, start, submit
from tests.batches.test_overview import LATER
from tests.console.operators import ask, confirm, list_of, logged_in, name_of, with_permissions
from tests.console.world import populate
from tests.factories import AccountFactory, secret_of

pytestmark = pytest.mark.django_db
CANCEL = ("accounts.view_account", "accounts.view_externaluser", "batches.cancel_batch")


@pytest.fixture
def alice(account: Account) -> ExternalUser:
    return ExternalUser.objects.create(account=account, external_id="alice")


def test_an_account_shows_batches_usage_failures_and_keys(
    admin_client: Client, account: Account, alice: ExternalUser
) -> None:
    secret_of(account, name="first")
    failed = run(start(Owner(account, alice), 5), failing=("0", "1"))
    start(account, 1)
    run(start(AccountFactory(), 1), failing=("0",))
    traffic.roll_up(database_now() + LATER)

    page = admin_client.get(page_of(account)).content.decode()

    assert f"state=in_progress&amp;account={account.name.replace(' ', '+')}" in page
    assert ">3</a></strong><span>lines done, 24 hours" in page
    lost = f"since=day&amp;account={quote_plus(account.name)}&amp;failed__gt=0"
    assert f'{list_of(OwnerHour)}?{lost}">2 failed</a>' in page
    assert "6 tokens in" in page
    assert page.count('data-label="Batch"') == 1
    assert failed.pk in page
    lines = reverse("admin:batches_batch_lines", args=[quote(failed.pk)])
    assert f'<a href="{lines}?cause=http_400"><code>http_400</code> 2</a>' in page
    assert ">first</a>" in page


def test_states_that_are_counted_stand_apart_from_those_that_are_not(
    admin_client: Client, account: Account
) -> None:
    for _ in range(2):
        start(account, 1)
    run(start(account, 1))
    submit(account, b"{}\n")

    page = admin_client.get(page_of(account))

    assert [(count, name) for count, name, _ in page.context["states"]] == [
        ("1", "validating"),
        ("2", "in progress"),
        ("1", "finalizing"),
    ]
    ended = page.content.decode().partition("<span>Ended:</span>")[2].partition("</span>")[0]
    assert re.findall(">([^<]+)</a>", ended) == ["failed", "completed", "expired", "cancelled"]


def test_the_causes_are_of_lines_that_still_fail(account: Account, admin_client: Client) -> None:
    first, second = (run(start(account, 3), failing=("0", "1")) for _ in range(2))
    Segment.objects.filter(shard__batch=first).update(rerun={"causes": None, "lines": None})
    third = run(start(account, 1), failing=("0",))
    Segment.objects.filter(shard__batch=third).update(causes=None)

    failing = admin_client.get(page_of(account)).context["failing"]

    assert {batch.pk: [(c, n) for c, n, _ in causes] for batch, _, causes in failing} == {
        first.pk: [],
        second.pk: [("http_400", 2)],
        third.pk: [],
    }


def test_keys_that_live_come_before_those_that_are_revoked(
    admin_client: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners_admin, "KEYS", 2)
    for name in ("live", "gone", "also gone"):
        secret_of(account, name=name)
    for key in ApiKey.objects.filter(name__contains="gone"):
        key.revoke()

    keys = admin_client.get(page_of(account)).context["keys"]

    assert [(key.name, state[0]) for key, state in keys] == [("live", "live"), ("gone", "revoked")]


def test_an_external_user_shows_only_what_is_theirs(
    admin_client: Client, account: Account, alice: ExternalUser
) -> None:
    run(start(account, 5), failing=("0",))
    start(Owner(account, alice), 1)
    traffic.roll_up(database_now() + LATER)

    page = admin_client.get(page_of(alice)).content.decode()

    assert "No line of theirs has failed." in page
    assert ">0</a></strong><span>lines done, 24 hours" in page
    assert "API keys</h2>" not in page


@pytest.mark.parametrize("whose", ["account", "external user"])
def test_all_batches_of_an_owner_are_cancelled_at_once(
    whose: str, account: Account, alice: ExternalUser
) -> None:
    hers, others = start(Owner(account, alice), 3), start(account, 2)
    stranger = start(AccountFactory(), 1)
    owner: Any = account if whose == "account" else alice
    operator = with_permissions(*CANCEL)

    page = ask(operator, f"cancel-all-batches-of-{whose.replace(' ', '-')}s", owner)
    lines = 5 if whose == "account" else 3
    assert page.context["sums"] is not None
    assert dict(page.context["sums"])["lines that will not run"] == lines
    confirm(operator, page, "spam")

    status = dict(Batch.objects.values_list("pk", "status"))
    assert status[hers.pk] == Status.CANCELLING
    assert status[others.pk] == ("cancelling" if whose == "account" else "in_progress")
    assert status[stranger.pk] == Status.IN_PROGRESS
    count = "2 batches" if whose == "account" else "1 batch"
    act = Act.objects.get(verb=f"cancel all batches of {whose}s")
    assert act.affected.get().outcome == f"{count} cancelled"
    again = ask(operator, f"cancel-all-batches-of-{whose.replace(' ', '-')}s", owner)
    assert "no batches to cancel" in again.content.decode()


def test_the_log_of_each_batch_has_that_all_were_cancelled(account: Account) -> None:
    batch = start(account, 1)
    operator = with_permissions(*CANCEL)

    confirm(operator, ask(operator, "cancel-all-batches-of-accounts", account), "spam")

    logged = ActObject.objects.of(batch).get()
    assert (logged.act.verb, logged.outcome) == ("cancel batches", "cancelled")
    assert (logged.act.operator, logged.act.reason) == (name_of(operator), "spam")
    assert (logged.act.user_id, logged.act.address, logged.act.left) == (
        int(operator.session["_auth_user_id"]),
        "127.0.0.1",
        0,
    )


def test_more_batches_than_one_transaction_should_hold_are_left_to_the_list(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "MOST_AT_ONCE", 1)
    batches = [start(account, 1), start(account, 1)]
    operator = with_permissions(*CANCEL)

    quiet = AccountFactory()
    start(quiet, 4)
    page = ask(operator, "cancel-all-batches-of-accounts", account, quiet, AccountFactory())

    assert dict(page.context["sums"]) == {
        "batches, all of which are cancelled": 1,
        "lines that will not run": 4,
    }
    assert dict(page.context["owners"]) == {quiet.name: 1}
    assert dict(page.context["skipped"]) == {
        "no batches to cancel": 1,
        "more than 1 batches to cancel: do it in the list of batches": 1,
    }
    assert page.context["acted_on"] == 1
    url = page_of(account).replace("/change/", "/do/cancel-all-batches-of-accounts/")
    operator.post(url, {"reason": "spam", "token": "t" * 20})

    assert "more than 1 batches" in Act.objects.get().affected.get().outcome
    assert {Batch.objects.get(pk=one.pk).status for one in batches} == {Status.IN_PROGRESS}


def test_who_may_not_cancel_cannot_cancel_all(account: Account) -> None:
    start(account, 1)
    client = with_permissions("accounts.view_account")
    url = page_of(account).replace("/change/", "/do/cancel-all-batches-of-accounts/")

    assert client.post(url, {"reason": "spam", "token": "t"}).status_code == 403
    assert Batch.objects.get().status == Status.IN_PROGRESS


def test_workers_are_shown_with_their_engines_and_shards(
    admin_client: Client, account: Account
) -> None:
    make_host(version="0.0.9")
    make_host(id="dead", name="gone", lease_expires_at=database_now() - HOUR)
    engine = make_engine()
    start(account, 1)
    until = database_now() + HOUR
    Shard.objects.update(owner=engine, state=Shard.State.RUNNING, lease_expires_at=until)

    page = admin_client.get(list_of(Host)).content.decode()

    assert page.count('<section class="panel card"') == 2
    assert f"the web server of this page runs {settings.VERSION}" in page
    assert ">gone</span>" in page
    assert f"?owner={engine.pk.replace(' ', '%20')}&amp;state=running" in page
    Engine.objects.update(host="elsewhere")
    assert (
        "Engines whose host has not been heard of"
        in admin_client.get(list_of(Host)).content.decode()
    )


def test_without_workers_the_page_says_how_to_start_one(admin_client: Client) -> None:
    assert 'data-copy="./run manage runworker"' in admin_client.get(list_of(Host)).content.decode()


@pytest.mark.parametrize("model", [Account, ExternalUser, Host, File])
def test_few_queries(model: Any, django_assert_max_num_queries: Any) -> None:
    populate()
    viewer = logged_in(User.objects.get(username__startswith="viewer"))
    row = model.objects.order_by("pk").first()
    ContentType.objects.get_for_model(model)  # which Django asks for once and keeps

    for url in (page_of(row), list_of(model)):
        with django_assert_max_num_queries(10):
            assert viewer.get(url).status_code == 200


def test_a_file_names_the_batches_that_need_it(admin_client: Client, account: Account) -> None:
    batch = start(account, 1)
    file = File.objects.get(pk=batch.input_file_id)
    assert page_of(batch) in admin_client.get(page_of(file)).content.decode()
    blind = with_permissions("files.view_file").get(page_of(file)).content.decode()
    assert batch.pk not in blind

    Batch.objects.update(held_file=None)
    assert "None: it can be deleted." in admin_client.get(page_of(file)).content.decode()
