"""The list of batches: what it shows, how it is narrowed and searched, and that it asks few questions for it."""

import csv
import datetime
import io
import re
from typing import Any
from urllib.parse import quote_plus

import pytest
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import Account, ExternalUser, Owner
from api.clock import database_now
from batches.admin import export as exporting
from batches.admin.status import left_of
from batches.models import (
    ACTIVE,
    Batch,
    BatchMinute,
    OwnerHour,
    Priority,
    Segment,
    Shard,
    Status,
    Transition,
    Upstream,
)
from batches.speed import speeds
from console import acts, pages
from console.models import Act
from tests.batches.factories import reach, run, start, submit
from tests.console.operators import ask, list_of, with_permissions
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db
MOST_QUERIES = 10
SOON = datetime.timedelta(minutes=1)


def rows(client: Client, **query: str) -> list[str]:
    page = client.get(list_of(Batch), query)
    assert page.status_code == 200
    return [row.pk for row in page.context["cl"].result_list]


def told(client: Client, **query: str) -> str:
    return client.get(list_of(Batch), query).content.decode()


def changed(batch: Batch, **fields: Any) -> str:
    Batch.objects.filter(pk=batch.pk).update(**fields)
    return batch.pk


# What it shows


def test_a_paused_batch_and_a_high_priority_are_told(viewer: Client, account: Account) -> None:
    batch = start(account, 2)
    shown = told(viewer)
    assert f'data-live="{batch.pk}.paused" hidden>' in shown

    batch.pause(actor="operator anna", reason="too <b>dear</b>")
    batch.prioritize(Priority.HIGH)

    shown = told(viewer)
    assert "paused by operator anna: too &lt;b&gt;dear&lt;/b&gt;" in shown
    assert ">high priority</span>" in shown
    assert f'data-live="{batch.pk}.paused" hidden>' not in shown
    live = viewer.get(reverse("admin:batches_batch_live"), {"row": batch.pk}).json()
    assert live[f"{batch.pk}.paused"] == {"attributes": {"hidden": None}}
    assert live[f"{batch.pk}.left"]["text"] == "waits to be resumed"


def test_how_long_a_batch_still_takes_is_told_by_its_last_minutes(account: Account) -> None:
    batch, now = start(account, 3), database_now()
    assert left_of(batch, speeds([batch], now)) == "not begun"
    changed(batch, total=1000, completed=100, in_progress_at=now - 2 * SOON)
    batch.refresh_from_db()
    assert left_of(batch, speeds([batch], now)) == "no line in 5 min"

    BatchMinute.objects.create(batch=batch, minute=now - 2 * SOON, completed=100, failed=20)
    BatchMinute.objects.create(batch=batch, minute=now - 60 * SOON, completed=9000)

    assert speeds([batch], now) == {batch.pk: 1.0}
    assert left_of(batch, speeds([batch], now)) == "about 15 min left"
    assert left_of(reach(submit(account, b"{}\n"), Status.COMPLETED), {}) == ""


def test_times_tell_how_long_it_took_or_when_it_expires(viewer: Client, account: Account) -> None:
    start(account, 1)
    assert "expires in 23 h" in told(viewer)

    ended, now = reach(submit(account, b"{}\n"), Status.COMPLETED), database_now()
    changed(ended, created_at=now - 90 * SOON, completed_at=now)
    assert "took 1 h 30 min" in told(viewer)

    changed(start(account, 1), expires_at=now)
    assert "window has closed" in told(viewer)


def test_an_owner_leads_to_what_is_theirs(viewer: Client, alice: Owner) -> None:
    batch = submit(alice, b"{}\n")
    twin = ExternalUser.objects.create(account=AccountFactory(name="other"), external_id="alice")
    other = submit(Owner(twin.account, twin), b"{}\n")

    assert f'href="?account={quote_plus(alice.account.name)}&amp;user=alice"' in told(viewer)
    assert rows(viewer, account=alice.account.name, user="alice") == [batch.pk]
    assert rows(viewer, user="alice") == [other.pk, batch.pk]
    assert rows(viewer, user="nobody") == []


# Narrowing


def test_each_tab_shows_its_own_and_counts_only_what_is_cheap(
    viewer: Client, account: Account
) -> None:
    made = {status: reach(submit(account, b"{}\n"), status).pk for status in Status}
    paused = start(account, 1)
    paused.pause(actor="x")
    changed(paused, failed=1)

    assert set(rows(viewer, state="active")) == {paused.pk, *(made[one] for one in ACTIVE)}
    assert rows(viewer, state="paused") == rows(viewer, state="failures") == [paused.pk]
    assert rows(viewer, state="expired") == [made[Status.EXPIRED]]
    assert rows(viewer, state="finalizing") == [made[Status.FINALIZING]]
    assert rows(viewer, state="running") == [made[Status.IN_PROGRESS]]
    assert len(rows(viewer, state="nonsense")) == len(Status) + 1
    shown = told(viewer)
    assert 'Active <span class="count">5</span>' in shown
    assert 'Paused <span class="count">1</span>' in shown
    assert shown.count('class="count"') == 2
    assert 'class="count"' not in told(viewer, q="x")


def test_filters_narrow_by_what_they_say(viewer: Client, account: Account) -> None:
    plain = start(account, 1).pk
    other = changed(
        start(account, 1),
        model="rare",
        endpoint="/v1/embeddings",
        failed=1,
        created_at=datetime.datetime(2026, 1, 2, 23, 30, tzinfo=datetime.UTC),
    )

    assert rows(viewer, model="rare") == [other]
    assert rows(viewer, endpoint="/v1/embeddings") == [other]
    assert rows(viewer, failures="yes") == [other]
    assert rows(viewer, created_to="2026-01-02") == [other]
    assert rows(viewer, created_from="2026-01-02", created_to="2026-01-02") == [other]
    assert rows(viewer, created_from="2026-01-03") == [plain]
    assert rows(viewer, created_from="soon") == [plain, other]


def test_where_nothing_is_called_so_the_search_is_offered(viewer: Client) -> None:
    account = AccountFactory(name="acme & sons-prod")
    user = ExternalUser.objects.create(account=account, external_id="alice-7")
    batch = submit(Owner(account, user), b"{}\n").pk

    shown = told(viewer, account="acme & sons", user="alice", model="llama")

    offered = re.findall(r'<a href="\?(q=[^"]+)">Search what begins with “([^<]+)”</a>', shown)
    assert [name for _, name in offered] == ["acme &amp; sons", "alice"]
    for query, _ in offered:
        found = viewer.get(f"{list_of(Batch)}?{query}").context["cl"].result_list
        assert [row.pk for row in found] == [batch]
    assert "begins with" not in told(viewer, account="acme & sons-prod")
    hours = with_permissions("batches.view_ownerhour").get(f"{list_of(OwnerHour)}?account=acme")
    assert "Nothing matches." in hours.content.decode()
    assert "begins with" not in hours.content.decode()  # for that list is not searched


def test_the_days_that_are_chosen_are_told_and_kept(viewer: Client, account: Account) -> None:
    submit(account, b"{}\n")
    shown = told(viewer, created_from="2026-01-02", created_to="2026-01-03", state="failed")

    assert "2026-01-02 to 2026-01-03" in shown
    assert 'name="created_from" value="2026-01-02"' in shown
    assert "since 2026-01-02" in told(viewer, created_from="2026-01-02")
    assert "until 2026-01-02" in told(viewer, created_to="2026-01-02")
    operator = with_permissions("batches.view_batch", "batches.cancel_batch")
    chosen = ask(operator, "cancel-batches", start(account, 1), query="?created_from=2026-01-02", across=True)  # fmt: skip
    assert "created: since 2026-01-02" in chosen.content.decode()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("state=in_progress", "state: in_progress"),
        ("total=1", "total: 1"),
        ("state=active&completed__gte=0", "state: Active; completed ≥ 0"),
        ("endpoint=/v1/other", "endpoint: /v1/other"),
        ("state=nonsense", "no filter: everything"),
    ],
)
def test_what_only_the_address_says_is_told_before_an_act(
    query: str, expected: str, account: Account
) -> None:
    batch = start(account, 1)
    if "other" in query:
        changed(batch, endpoint="/v1/other")
    operator = with_permissions("batches.view_batch", "batches.cancel_batch")

    page = ask(operator, "cancel-batches", batch, query=f"?{query}", across=True)

    assert f"All that match ({expected})" in page.content.decode()


def test_an_upstream_that_only_the_address_says_is_told(account: Account) -> None:
    batch = start(account, 1)
    operator = with_permissions("batches.view_batch", "batches.cancel_batch")
    changed(batch, upstream=Upstream.objects.get())
    query = f"?upstream__id__exact={Upstream.objects.get().pk}"

    page = ask(operator, "cancel-batches", batch, query=query, across=True)

    assert f"(upstream id: {Upstream.objects.get().pk})" in page.content.decode()


# Few questions

QUERIES = [
    "",
    *(f"state={state}" for state in ("active", "paused", "failures", "failed", "completed")),
    "account=acme",
    "account=acme&user=alice",
    "user=alice",
    "model=m",
    "endpoint=/v1/embeddings",
    "failures=yes",
    "created_from=2026-01-01&created_to=2100-01-01",
    "q=batch_",
    "q=acme",
    "q=alice",
    "q=k=v",
    "q=a&state=active&account=acme&user=alice&model=m&failures=yes&created_from=2026-01-01",
    "q=acme&state=active",
    "q=k=v&state=active",
    "p=2",
    "o=7",
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_page_of_the_list_asks_few_questions(query: str) -> None:
    operator = with_permissions(
        "batches.view_batch", "batches.cancel_batch", "batches.export_batch"
    )
    acme = AccountFactory(name="acme")
    for account in (acme, AccountFactory(name="acme two")):
        user = ExternalUser.objects.create(account=account, external_id="alice")
        for owner in (Owner(account, user), Owner(account)):
            start(owner, 1, metadata={"k": "v"})
            reach(submit(owner, b"{}\n"), Status.FAILED)

    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert operator.get(f"{list_of(Batch)}?{query}").status_code == 200

    assert len(asked) <= MOST_QUERIES, "\n".join(one["sql"] for one in asked)


# Export


def exported(answer: Any) -> list[dict[str, str]]:
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def exporter() -> Client:
    return with_permissions("batches.view_batch", "batches.export_batch")


def test_what_is_ticked_is_exported_with_no_cell_a_formula(exporter: Client, alice: Owner) -> None:
    batch = submit(alice, b"{}\n", metadata={"=cmd()": "@x", "b": "\u202e"})
    submit(alice, b"{}\n")
    changed(batch, model="=1+1")

    answer = ask(exporter, "export", batch)

    assert answer["Content-Disposition"] == 'attachment; filename="batches.csv"'
    (row,) = exported(answer)
    assert (row["id"], row["external_user"]) == (batch.pk, "alice")
    assert (row["model"], row["metadata"][:10]) == ("'=1+1", "'=cmd()=@x")
    assert (row["status"], row["priority"], row["ended_at"]) == ("validating", "normal", "")


def test_all_that_match_are_exported_and_the_log_says_so(
    exporter: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 2)
    made = [reach(submit(account, b"{}\n"), Status.FAILED) for _ in range(5)]
    start(account, 1)

    answer = ask(exporter, "export", made[0], query="?state=failed", across=True)

    assert [row["id"] for row in exported(answer)] == [batch.pk for batch in reversed(made)]
    act = Act.objects.get()
    assert (act.verb, act.total, act.done, act.left) == ("export batches", 5, 5, 0)
    assert act.parameters == {"chosen": "state: Failed"}
    assert set(act.affected.values_list("outcome", flat=True)) == {"exported"}


def test_too_many_are_not_exported(
    exporter: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [submit(account, b"{}\n") for _ in range(2)]
    monkeypatch.setattr(acts, "MOST", 1)

    ask(exporter, "export", *made)

    assert "one table has at most so many" in exporter.get(list_of(Batch)).content.decode()
    assert not Act.objects.exists()


def test_without_its_permission_nothing_is_exported(viewer: Client, account: Account) -> None:
    batch = run(start(account, 1))

    answer = ask(viewer, "export", batch)

    assert "text/csv" not in answer["Content-Type"]
    assert ">Export<" not in told(viewer)
    assert not Act.objects.exists()


# Far in


def test_a_page_far_in_is_the_one_it_would_be(
    viewer: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [submit(account, b"{}\n").pk for _ in range(5)][::-1]
    monkeypatch.setattr(pages.Page, "list_per_page", 2)
    near = [rows(viewer, p=str(page)) for page in (1, 2, 3)]
    monkeypatch.setattr(pages, "FAR", 0)

    assert [rows(viewer, p=str(page)) for page in (1, 2, 3)] == near
    assert near == [made[:2], made[2:4], made[4:]]


@pytest.mark.parametrize(
    "model", [BatchMinute, Transition, Shard, Segment], ids=lambda model: model.__name__
)
def test_rows_of_a_batch_are_found_by_its_id_as_it_is(
    model: Any, account: Account, admin_client: Client
) -> None:
    batch, _ = (run(start(account, 1)) for _ in range(2))

    with CaptureQueriesContext(connection) as asked:
        page = admin_client.get(list_of(model), {"q": batch.pk})

    found = page.context["cl"].result_list
    assert found
    assert not [one["sql"] for one in asked if "LIKE" in one["sql"] or "UPPER" in one["sql"]]
    assert {getattr(row, "batch_id", None) or row.shard.batch_id for row in found} == {batch.pk}


def test_shards_are_not_parted_by_a_state_that_no_index_has(admin_client: Client) -> None:
    assert not admin_client.get(list_of(Shard)).context["cl"].has_filters


def test_failures_lead_to_the_lines_that_failed(viewer: Client, account: Account) -> None:
    batch = run(start(account, 2), failing={"0"})

    assert f'{quote(batch.pk)}/lines/?state=failed"><span class="figures"' in told(viewer)
