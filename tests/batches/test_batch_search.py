"""The search of the list of batches: what it finds, in which order, and among what filters leave."""

from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client

from accounts import pages as owner_pages
from accounts.models import Account, ExternalUser, Owner
from batches.admin import finding as metadata
from batches.models import Batch, MetadataPair, Status
from console import finding
from tests.batches.factories import reach, start, submit
from tests.batches.test_batch_list import changed, rows, told
from tests.console.operators import ask, with_permissions
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


def test_metadata_is_found_by_value_pair_and_beginning(viewer: Client, account: Account) -> None:
    nightly = submit(account, b"{}\n", metadata={"project": "north", "description": "Nightly run"})
    other = submit(account, b"{}\n", metadata={"team": "north"})
    submit(account, b"{}\n")

    assert rows(viewer, q="project=north") == [nightly.pk]
    assert rows(viewer, q="project=nor") == [nightly.pk]
    assert rows(viewer, q="north") == [other.pk, nightly.pk]
    assert rows(viewer, q="Night") == [nightly.pk]
    assert rows(viewer, q="project=south") == []
    assert rows(viewer, q="=") == rows(viewer, q="run") == []


def test_a_search_finds_the_newest_first_and_no_more_than_it_says(
    viewer: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_FOUND", 2)
    made = [submit(account, b"{}\n", metadata={"k": "v"}).pk for _ in range(3)]

    assert rows(viewer, q="v") == rows(viewer, q=account.name) == made[:0:-1]


@pytest.mark.parametrize("few", [0, 500])
@pytest.mark.parametrize("text", ["v", "v=w", "k=v", "k=", "acme", "ac", "batch_", "ali"])
def test_what_runs_is_found_behind_any_number_of_newer_ones(
    text: str, few: int, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_FOUND", 2)
    monkeypatch.setattr(metadata, "FEW", few)  # batches, of which each is asked for its pairs
    acme = AccountFactory(name="acme")
    owner = Owner(acme, ExternalUser.objects.create(account=acme, external_id="alice"))
    pair = {"k": "v", "v": "w"}
    running = start(owner, 1, metadata=pair)
    for _ in range(3):
        reach(submit(owner, b"{}\n", metadata=pair), Status.FAILED)

    assert running.pk not in rows(viewer, q=text)
    assert rows(viewer, q=text, state="active") == [running.pk]
    assert rows(viewer, q=text, state="active", user="nobody") == []


def test_of_namesakes_what_runs_is_found_behind_newer_ones(
    viewer: Client, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_FOUND", 2)
    twin = ExternalUser.objects.create(account=AccountFactory(name="other"), external_id="alice")
    running = changed(start(alice, 1), model="rare")
    newer = [reach(submit(Owner(twin.account, twin), b"{}\n"), Status.FAILED) for _ in range(3)]

    assert rows(viewer, user="alice", state="active") == [running]
    assert rows(viewer, user="alice", model="rare") == [running]
    assert rows(viewer, user="alice") == [newer[2].pk, newer[1].pk]
    assert "there are more: narrow the search" in told(viewer, user="alice")
    assert "there are more" not in told(viewer, user="alice", state="active")


def test_what_was_cut_is_said_on_the_list_and_before_an_act(
    viewer: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [submit(account, b"{}\n", metadata={"k": "v"}) for _ in range(3)]
    assert "there are more" not in told(viewer, q="v")
    monkeypatch.setattr(finding, "MOST_FOUND", 2)

    assert "2 batches, only the newest 2; there are more: narrow" in told(viewer, q="v")
    operator = with_permissions("batches.view_batch", "batches.cancel_batch")
    page = ask(operator, "cancel-batches", made[2], query="?q=v", across=True)
    assert "search “v”; only the newest 2)" in page.content.decode()


CUT_OF_ACCOUNTS = "of accounts whose names begin so only the first 2"
CUT_OF_USERS = "of users whose ids begin so only the first 2"


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("acme", f"{CUT_OF_ACCOUNTS}; {CUT_OF_USERS}"),
        ("acme a", CUT_OF_ACCOUNTS),
        ("acme u", CUT_OF_USERS),
        ("acme a1", ""),
    ],
)
def test_owners_that_were_left_out_are_said_on_the_list_and_before_an_act(
    text: str, cut: str, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_pages, "MOST_OWNERS", 2)
    accounts = [AccountFactory(name=f"acme a{number}") for number in range(3)]
    for number in range(3):
        ExternalUser.objects.create(account=accounts[0], external_id=f"acme u{number}")
    made = [submit(account, b"{}\n") for account in accounts]

    shown = told(viewer, q=text)
    operator = with_permissions("batches.view_batch", "batches.cancel_batch")
    page = ask(operator, "cancel-batches", made[0], query=f"?q={text}", across=True)

    if cut:
        assert f", {cut}; there are more: narrow the search</span>" in shown
        assert page.context["told"] == f"search “{text}”; {cut}"
    else:
        assert "there are more" not in shown
        assert page.context["told"] == f"search “{text}”"


def test_both_cuts_are_said(
    viewer: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_FOUND", 1)
    monkeypatch.setattr(owner_pages, "MOST_OWNERS", 1)
    for name in ("acme 1", "acme 2"):
        owner = AccountFactory(name=name)
        for _ in range(2):
            submit(owner, b"{}\n")

    cut = "1 batch, only the newest 1; of accounts whose names begin so only the first 1; there are"
    assert cut in told(viewer, q="acme")


@pytest.mark.parametrize("query", [{}, {"q": "k=v"}])
def test_namesakes_that_were_left_out_are_said(
    query: dict[str, str], viewer: Client, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_pages, "MOST_OWNERS", 2)
    users = [alice.external_user]
    for _ in range(2):
        twin = ExternalUser.objects.create(account=AccountFactory(), external_id="alice")
        users.append(twin)
    for user in users:
        assert user is not None
        submit(Owner(user.account, user), b"{}\n", metadata={"k": "v"})

    shown = told(viewer, user="alice", **query)

    assert "2 batches, of users of this id only the first 2; there are more" in shown
    assert "there are more" not in told(viewer, user="alice", account=alice.account.name)


def test_the_owner_who_is_called_so_comes_before_those_whose_names_begin_so(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_pages, "MOST_OWNERS", 2)
    for name in ("acme 1", "acme 2", "acme 3"):
        submit(AccountFactory(name=name), b"{}\n")
    named = submit(AccountFactory(name="acme"), b"{}\n")

    found = rows(viewer, q="acme")

    assert len(found) == 2
    assert named.pk in found


def test_of_ids_that_begin_alike_the_newest_are_found(
    viewer: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_FOUND", 2)
    ids = iter(["batch_f1", "batch_f3", "batch_f2"])
    monkeypatch.setattr(Batch._meta.get_field("id"), "_get_default", lambda: next(ids))
    for _ in range(3):
        submit(account, b"{}\n")

    assert rows(viewer, q="batch_f") == ["batch_f2", "batch_f3"]


def test_a_search_is_narrowed_by_filters(viewer: Client, account: Account) -> None:
    submit(account, b"{}\n", metadata={"k": "v"})
    failed = reach(submit(account, b"{}\n", metadata={"k": "v"}), Status.FAILED)

    assert rows(viewer, q="k=v", state="failed") == [failed.pk]


def test_metadata_that_no_database_takes_as_text_does_not_break_a_batch(account: Account) -> None:
    MetadataPair.objects.note(
        [Batch(pk=submit(account, b"{}\n").pk, metadata={"a\x00": "b\ud800" + "x" * 512})]
    )

    pair = MetadataPair.objects.get()
    assert (pair.key, pair.value) == ("a", "b?" + "x" * 198)


def test_batches_that_were_there_before_are_found_too(viewer: Client, account: Account) -> None:
    batch = submit(account, b"{}\n", metadata={"project": "north", "nul": "a\x00b"[:1]})
    submit(account, b"{}\n")
    MetadataPair.objects.all().delete()
    migration = import_module("batches.migrations.0006_metadata_pairs")

    for _ in range(2):
        migration.note_metadata(apps, SimpleNamespace(connection=connection))

    assert MetadataPair.objects.count() == 2
    assert rows(viewer, q="project=north") == [batch.pk]
