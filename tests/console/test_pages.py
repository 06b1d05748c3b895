"""A list stays fast however long it is, and a search asks only what an index can answer."""

from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, ExternalUser, Owner
from batches.models import Batch
from console import pages
from console.pages import CappedPaginator, begins_with
from console.parts import page_of
from files.models import File
from tests.batches.factories import submit
from tests.console.operators import list_of, with_permissions
from tests.factories import AccountFactory, FileFactory

pytestmark = pytest.mark.django_db


def found(client: Client, model: Any, query: str) -> list[Any]:
    page = client.get(list_of(model) + query)
    assert page.status_code == 200
    return [row.pk for row in page.context["cl"].result_list]


@pytest.fixture
def viewer(db: None) -> Client:
    return with_permissions(
        "batches.view_batch", "files.view_file", "accounts.view_apikey", "accounts.view_account"
    )


def test_a_count_stops_at_its_cap(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        submit(account, b"{}\n")
    monkeypatch.setattr(pages, "MOST_COUNTED", 3)

    paginator = CappedPaginator(Batch.objects.order_by("pk"), 2)
    with CaptureQueriesContext(connection) as asked:
        assert paginator.count == 3

    assert "LIMIT 4" in asked[0]["sql"]
    assert "ORDER BY" not in asked[0]["sql"]
    assert (paginator.count, paginator.is_capped, paginator.num_pages) == (3, True, 2)
    assert not CappedPaginator(Batch.objects.filter(total=1).order_by("pk"), 2).is_capped


def test_a_capped_list_says_so_and_offers_no_act_on_all(
    admin_client: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        submit(account, b"{}\n")
    monkeypatch.setattr(pages, "MOST_COUNTED", 3)
    monkeypatch.setattr(pages.Page, "list_per_page", 2)

    told = admin_client.get(list_of(Batch)).content.decode()

    assert "more than 3 batches" in told
    assert "More than 3 match: filter, to act on all" in told
    assert "data-all" not in told


def test_a_list_offers_all_that_match_by_their_number(
    admin_client: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        submit(account, b"{}\n")
    monkeypatch.setattr(pages.Page, "list_per_page", 2)

    assert "Select all 3 that match" in admin_client.get(list_of(Batch)).content.decode()


def test_rows_are_found_by_the_beginning_of_their_id(viewer: Client, account: Account) -> None:
    batch, other = submit(account, b"{}\n"), submit(account, b"{}\n")

    assert found(viewer, Batch, f"?q={batch.pk}") == [batch.pk]
    assert found(viewer, Batch, f"?q={batch.pk[:16]}") == [batch.pk]
    assert set(found(viewer, Batch, "?q=batch_")) == {batch.pk, other.pk}
    assert found(viewer, Batch, "?q=batch_nothing") == []


def test_rows_are_found_by_their_owner(viewer: Client) -> None:
    acme = AccountFactory(name="acme")
    alice = ExternalUser.objects.create(account=acme, external_id="alice")
    hers = submit(Owner(acme, alice), b"{}\n").pk
    theirs = submit(acme, b"{}\n").pk
    submit(AccountFactory(name="globex"), b"{}\n")

    assert found(viewer, Batch, "?q=ali") == [hers]
    assert set(found(viewer, Batch, "?q=acm")) == {hers, theirs}
    assert found(viewer, Batch, "?q=nobody") == []
    assert found(viewer, Batch, "?user=alice") == [hers]
    assert set(found(viewer, Batch, "?account=acme")) == {hers, theirs}
    assert found(viewer, Batch, "?account=acm") == []


@pytest.mark.parametrize(
    "text", ["%", "_", "\u202e", "'; DROP", "x" * 5000, "<script>", "\U0010ffff"]
)
@pytest.mark.parametrize("model", [Batch, File], ids=lambda model: model.__name__)
def test_a_search_for_nonsense_finds_nothing(model: Any, text: str, viewer: Client) -> None:
    FileFactory(AccountFactory())

    page = viewer.get(list_of(model), {"q": text})

    assert page.status_code == 200
    assert list(page.context["cl"].result_list) == []
    assert "<script>" not in page.content.decode()


def test_a_beginning_is_no_pattern(account: Account) -> None:
    ExternalUser.objects.create(account=account, external_id="a_b")
    ExternalUser.objects.create(account=account, external_id="axb")

    matching = ExternalUser.objects.filter(begins_with("external_id", "a_"))

    assert [user.external_id for user in matching] == ["a_b"]


@pytest.mark.parametrize("query", ["", "?q=acme", "?state=active", "?account=acme&user=x"])
def test_a_list_asks_few_questions_and_none_per_row(query: str, viewer: Client) -> None:
    acme = AccountFactory(name="acme")
    counts = []
    for _ in range(2):
        for number in range(10):
            user, _ = ExternalUser.objects.get_or_create(account=acme, external_id=str(number))
            submit(Owner(acme, user), b"{}\n")
        with CaptureQueriesContext(
            connection,
        ) as asked:
            viewer.get(list_of(Batch) + query)
        counts.append(len(asked))

    assert counts[0] == counts[1] <= 10


def test_no_list_reads_a_table_for_its_filters(admin_client: Client, account: Account) -> None:
    submit(account, b"{}\n")
    for model in admin.site._registry:
        with CaptureQueriesContext(connection) as asked:
            assert admin_client.get(list_of(model)).status_code == 200
        assert not [one["sql"] for one in asked if "DISTINCT" in one["sql"]], model
        assert len(asked) <= 10, model


def test_a_typed_filter_keeps_what_else_is_chosen(viewer: Client) -> None:
    told = viewer.get(list_of(Batch) + "?state=failed&account=acme&p=1&q=x").content.decode()

    end = told.index('id="filter-account"')
    form = told[told.rindex("<form", 0, end) : end]
    assert '<input type="hidden" name="state" value="failed">' in form
    assert '<input type="hidden" name="q" value="x">' in form
    assert 'name="p"' not in form
    assert 'value="acme"' in told


def test_a_cell_knows_the_name_of_its_column(viewer: Client, account: Account) -> None:
    submit(account, b"{}\n")

    assert (
        '<td data-label="Progress" class="field-progress">'
        in viewer.get(list_of(Batch)).content.decode()
    )


@pytest.mark.parametrize("page", ["add", "delete"])
def test_rows_of_the_machine_cannot_be_made_or_removed_by_hand(
    page: str, account: Account, admin_client: Client
) -> None:
    batch = submit(account, b"{}\n")
    url = list_of(Batch) + ("add/" if page == "add" else f"{batch.pk}/delete/")

    assert admin_client.post(url, {"post": "yes"}).status_code == 403


def test_no_cell_and_no_field_hides_what_strangers_wrote(admin_client: Client) -> None:
    user = ExternalUser.objects.create(account=AccountFactory(), external_id="evil\u202egnp<b>")
    file = FileFactory(Owner(user.account, user), filename="a\u200bb\u2066.jsonl")

    pages = [list_of(ExternalUser), page_of(user), list_of(File), page_of(file)]

    for page in pages:
        told = admin_client.get(page).content.decode()
        assert "\u202e" not in told
        assert "\u200b" not in told
        assert "<b>" not in told
        assert "evil⟨U+202E⟩gnp&lt;b&gt;" in told
