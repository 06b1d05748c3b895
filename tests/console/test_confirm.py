"""Between an operator and an act stands a page that says all of it, asks why, and is sent twice without harm."""

import dataclasses
import re
from html import unescape
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from batches.acts import CANCEL as CANCEL_VERB
from batches.models import Batch, Status
from console import acts, confirm
from console.models import Act
from console.parts import page_of
from tests.batches.factories import reach, start, submit
from tests.console.operators import ask, list_of, name_of, with_permissions
from tests.console.operators import confirm as answer
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db
CANCEL = "cancel-batches"


@pytest.fixture
def operator() -> Client:
    return with_permissions("batches.view_batch", "batches.cancel_batch", "console.view_act")


@pytest.fixture
def batch(account: Account) -> Batch:
    return start(account, 5)


def button_of(batch: Batch) -> str:
    return reverse("admin:batches_batch_do", args=[quote(batch.pk), CANCEL])


def status_of(batch: Batch) -> str:
    batch.refresh_from_db()
    return batch.status


def test_nothing_is_done_before_the_answer(operator: Client, batch: Batch) -> None:
    page = ask(operator, CANCEL, batch)

    assert page.status_code == 200
    assert status_of(batch) == Status.IN_PROGRESS
    assert Act.objects.count() == 0


def test_the_page_says_how_many_how_much_and_whose(operator: Client, batch: Batch) -> None:
    Batch.objects.filter(pk=batch.pk).update(completed=3, failed=1)
    other = start(AccountFactory(name="globex"), 7)

    page = ask(operator, CANCEL, batch, other)

    told = page.content.decode()
    assert "Cancel 2 batches?" in told
    assert dict(page.context["sums"]) == {
        "lines already done, which are kept": 4,
        "lines that will not run": 8,
    }
    assert dict(page.context["owners"]) == {batch.account.name: 1, "globex": 1}
    assert batch.pk in told
    assert other.pk in told


def test_owners_that_are_not_named_are_counted(
    operator: Client, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "OWNERS_NAMED", 2)
    others = [start(AccountFactory(name=f"z{number}"), 1) for number in range(4)]
    others += [start(others[0].account, 1), start(others[0].account, 1), start(batch.account, 1)]

    page = ask(operator, CANCEL, batch, *others)

    assert page.context["owners"] == [("z0", 3), (batch.account.name, 2), ("3 further owners", 3)]
    assert ">3 further owners</th><td>3</td>" in page.content.decode()
    assert page.context["count"] == 8


def test_the_page_says_what_will_be_skipped_and_why(operator: Client, batch: Batch) -> None:
    ended = reach(submit(batch.account, b"{}\n"), Status.FAILED)

    page = ask(operator, CANCEL, batch, ended)

    told = page.content.decode()
    assert "1 will be skipped" in told
    assert "failed: nothing to cancel" in told
    assert page.context["acted_on"] == 1
    assert ">Cancel 1 batch</button>" in told


def test_when_nothing_can_be_done_there_is_nothing_to_answer(
    operator: Client, batch: Batch
) -> None:
    reach(batch, Status.VALIDATING)
    ended = reach(submit(batch.account, b"{}\n"), Status.FAILED)

    told = ask(operator, CANCEL, ended).content.decode()

    assert 'name="reason"' not in told


def test_the_answer_does_it_says_so_and_is_logged(operator: Client, batch: Batch) -> None:
    page = answer(operator, ask(operator, CANCEL, batch), reason="ticket 4711")

    assert status_of(batch) == Status.CANCELLING
    assert "1 batch cancelled." in page.content.decode()
    act = Act.objects.get()
    assert (act.verb, act.operator, act.reason) == (
        "cancel batches",
        name_of(operator),
        "ticket 4711",
    )
    assert act.affected.get().object_id == batch.pk
    moved = batch.history.last()
    assert moved is not None
    assert (moved.actor, moved.reason) == (act.operator, "ticket 4711")


@pytest.mark.parametrize("reason", ["", "   "])
def test_without_a_reason_nothing_is_done(reason: str, operator: Client, batch: Batch) -> None:
    page = answer(operator, ask(operator, CANCEL, batch), reason=reason)

    assert "This field is required." in page.content.decode()
    assert status_of(batch) == Status.IN_PROGRESS


def test_the_same_answer_sent_twice_is_one_act(operator: Client, batch: Batch) -> None:
    page = ask(operator, CANCEL, batch)

    answer(operator, page)
    again = answer(operator, page)

    assert Act.objects.count() == 1
    assert "1 batch cancelled." in again.content.decode()


def test_a_refusal_is_named_and_stops_no_other(operator: Client, batch: Batch) -> None:
    other = start(batch.account, 2)
    page = ask(operator, CANCEL, batch, other)
    for step in (Status.FINALIZING, Status.COMPLETED):
        batch.move(step, actor="meanwhile")

    done = answer(operator, page)

    assert "1 batch cancelled, 1 refused." in done.content.decode()
    assert status_of(other) == Status.CANCELLING
    (refused,) = Act.objects.get().affected.filter(is_refusal=True)
    assert refused.outcome.startswith("refused: The batch")


def test_what_was_ticked_counts_even_when_it_left_the_filter(
    operator: Client, batch: Batch
) -> None:
    page = ask(operator, CANCEL, batch, query="?state=cancelled")

    assert page.context["count"] == 1


def test_all_that_match_the_filter_are_written_down_at_the_answer(
    operator: Client, batch: Batch, account: Account
) -> None:
    reach(submit(account, b"{}\n"), Status.FAILED)
    page = ask(operator, CANCEL, batch, query=f"?state=active&account={account.name}", across=True)
    assert page.context["count"] == 1
    assert f"state: Active; account: {account.name}" in page.content.decode()
    later = start(account, 1)

    answer(operator, page)

    found = {one.object_id for one in Act.objects.get().affected.all()}
    assert found == {batch.pk, later.pk}


def test_all_without_a_filter_is_called_everything(operator: Client, batch: Batch) -> None:
    page = ask(operator, CANCEL, batch, across=True)

    assert "All that match (no filter: everything)." in page.content.decode()


def test_the_search_is_part_of_the_filter(operator: Client, batch: Batch) -> None:
    start(AccountFactory(), 1)

    page = ask(operator, CANCEL, batch, query=f"?q={batch.pk[:20]}", across=True)

    assert page.context["count"] == 1
    assert "search" in page.context["told"]


def test_more_than_one_act_can_take_is_refused_with_advice(
    operator: Client, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(batch.account, 1)
    for module in (acts, confirm):
        monkeypatch.setattr(module, "MOST", 1)

    page = ask(operator, CANCEL, batch, across=True)

    told = page.content.decode()
    assert "More than 1 batches match" in told
    assert 'name="reason"' not in told


def test_more_that_came_meanwhile_is_refused_too(
    operator: Client, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (acts, confirm):
        monkeypatch.setattr(module, "MOST", 1)
    page = ask(operator, CANCEL, batch, across=True)
    other = start(batch.account, 1)

    told = answer(operator, page).content.decode()

    assert "Narrow the filter" in told
    assert Act.objects.count() == 0
    assert status_of(other) == Status.IN_PROGRESS


def test_what_takes_longer_goes_on_by_itself(
    operator: Client, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[Any] = []
    monkeypatch.setattr(confirm, "SECONDS", 0)
    monkeypatch.setattr("batches.acts.ring", lambda *call: rung.append(call))

    page = answer(operator, ask(operator, CANCEL, batch))

    assert "1 still to do, which goes on by itself." in page.content.decode()
    assert rung == [("carry_on_act", str(Act.objects.get().pk))]


class Question(acts.Questions):
    priority = forms.IntegerField(max_value=9, help_text="9 comes first.")


def test_a_verb_may_ask_more(
    operator: Client, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    verbs = dict(acts.VERBS)
    asking = dataclasses.replace(
        CANCEL_VERB,
        name="rank batches",
        form=Question,
        do=lambda row, act: heard.append(act.parameters),
    )
    monkeypatch.setattr(admin.site._registry[Batch], "verbs", [asking])
    page = ask(operator, "rank-batches", batch)
    assert "9 comes first." in page.content.decode()

    wrong = answer(operator, page, reason="", **{"with-priority": "10"})
    assert wrong.content.decode().count('class="errorlist"') == 2
    answer(operator, page, **{"with-priority": "7"})

    assert heard == [{"priority": 7}]
    assert Act.objects.get().parameters == {"priority": 7}
    acts.VERBS.clear()
    acts.VERBS.update(verbs)


# Who may


@pytest.mark.parametrize("permission", ["batches.view_batch", "batches.requeue_batch"])
def test_the_permission_is_checked_at_the_question(permission: str, batch: Batch) -> None:
    client = with_permissions("batches.view_batch", permission)

    ask(client, CANCEL, batch)

    assert Act.objects.count() == 0
    url = button_of(batch)
    assert client.get(url).status_code == 403


def test_the_permission_is_checked_at_the_answer(operator: Client, batch: Batch) -> None:
    page = ask(operator, CANCEL, batch)
    url = button_of(batch)
    viewer = with_permissions("batches.view_batch", "batches.requeue_batch")

    answer(viewer, page)
    direct = viewer.post(url, {"token": "t", "reason": "because"})

    assert direct.status_code == 403
    assert status_of(batch) == Status.IN_PROGRESS


def test_who_may_not_see_a_row_learns_nothing_of_it(batch: Batch) -> None:
    client = with_permissions("batches.cancel_batch")

    assert client.get(button_of(batch)).status_code == 403
    assert client.get(list_of(Batch)).status_code == 403


def test_a_button_that_may_not_be_pressed_is_not_there(batch: Batch) -> None:
    told = with_permissions("batches.view_batch").get(list_of(Batch)).content.decode()

    assert CANCEL not in told
    assert "action-select" not in told


# The button of a row's own page


def test_a_page_offers_what_applies_and_does_it(operator: Client, batch: Batch) -> None:
    change = page_of(batch)
    url = button_of(batch)
    assert f'href="{url}"' in operator.get(change).content.decode()

    done = answer(operator, operator.get(url))

    assert done.redirect_chain[-1][0] == change
    assert status_of(batch) == Status.CANCELLING
    assert f'href="{url}"' not in operator.get(change).content.decode()


def crumbs_of(page: Any) -> list[tuple[str, str]]:
    (crumbs,) = re.findall('<div class="breadcrumbs">(.*?)</div>', page.content.decode())
    return [(name, unescape(url)) for url, name in re.findall('<a href="([^"]+)">([^<]+)', crumbs)]


def test_the_crumbs_lead_to_where_it_was_begun(operator: Client, batch: Batch) -> None:
    overview = ("Overview", reverse("admin:index"))
    of_row = operator.get(button_of(batch))
    of_list = ask(operator, CANCEL, batch, query="?state=active&p=1")

    rows = ("Batches", list_of(Batch))
    assert crumbs_of(of_row) == [overview, rows, (batch.pk, page_of(batch))]
    assert crumbs_of(of_list) == [overview, ("Batches", f"{list_of(Batch)}?state=active&p=1")]


def test_what_is_not_there_is_not_found(operator: Client, batch: Batch) -> None:
    for arguments in (["nobody", CANCEL], [quote(batch.pk), "no-such-verb"]):
        url = reverse("admin:batches_batch_do", args=arguments)
        assert operator.get(url).status_code == 404


def test_without_a_token_of_the_page_nothing_is_done(operator: Client, batch: Batch) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    response = strict.post(button_of(batch), {"token": "t", "reason": "because"})

    assert response.status_code == 403
    assert "Please try again" in response.content.decode()
    assert status_of(batch) == Status.IN_PROGRESS


def test_every_field_names_a_help_that_is_there(account: Account) -> None:
    asks = with_permissions("batches.view_batch", "batches.prioritize_batch")

    page = ask(asks, "prioritize-batches", start(account, 1)).content.decode()

    named = {
        one for names in re.findall(r'aria-describedby="([^"]+)"', page) for one in names.split()
    }
    assert {"id_with-priority_helptext", "id_reason_helptext"} <= named
    assert all(f'id="{one}"' in page for one in named)
