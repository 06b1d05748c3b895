"""The lines of a batch, as operators see them, and what they may read of them."""

import json
import re
from html import escape
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from batches import inspection, results
from batches.acts import REQUEUE_LINES
from batches.models import Batch, Status
from console.models import Act
from console.parts import page_of
from tests.batches.factories import claimed, request_line, run, start, submit
from tests.console.operators import confirm, in_role, logged_in, name_of, with_permissions

EVIL = "<script>alert(1)</script>"
TURNED = "evil\u202egnp.exe"


@pytest.fixture(autouse=True)
def _small_shards(settings: Any) -> None:
    settings.BATCH_SHARD_LINES = 3


@pytest.fixture
def ended(account: Account) -> Batch:
    batch = run(start(account, 9), failing={"1", "4", "5"})
    results.finalize(batch.pk)
    batch.refresh_from_db()
    assert batch.status == Status.COMPLETED
    return batch


@pytest.fixture
def operator(db: None) -> Client:
    return logged_in(in_role("operator"))


def lines_of(client: Client, batch: Batch, **query: str) -> Any:
    return client.get(reverse("admin:batches_batch_lines", args=[quote(batch.pk)]), query)


def numbers(page: Any) -> list[int]:
    return [row["line"].number for row in page.context["lines"]]


def read(client: Client, batch: Batch, place: str, **headers: str) -> Any:
    return client.get(
        reverse("admin:batches_batch_line", args=[quote(batch.pk), place]), headers=headers or None
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, list(range(1, 10))),
        ({"state": "failed"}, [2, 5, 6]),
        ({"cause": "http_400"}, [2, 5, 6]),
        ({"cause": "other"}, []),
        ({"q": "4"}, [5]),
        ({"from": "1.1"}, [5, 6, 7, 8, 9]),
        ({"from": "nonsense", "state": "nonsense"}, list(range(1, 10))),
        ({"state": "waiting"}, []),
    ],
)
def test_lines_are_chosen_by_the_address(
    query: dict[str, str], expected: list[int], ended: Batch, operator: Client
) -> None:
    assert numbers(lines_of(operator, ended, **query)) == expected


@pytest.mark.parametrize("digits", ["22", "23", "40"])
def test_a_line_opens_whatever_the_id_of_its_batch(
    digits: str, account: Account, admin_client: Client, monkeypatch: Any
) -> None:
    key = f"batch_{digits}{'0' * 30}"  # `_23` in an address of the admin stands for another sign
    monkeypatch.setattr(Batch._meta.get_field("id"), "_get_default", lambda: key)
    batch = start(account, 1)
    assert batch.pk == key

    page = lines_of(admin_client, batch).content.decode()
    (link,) = re.findall(r'href="([^"]+)" data-dialog', page)

    assert admin_client.get(link).status_code == 200


def test_pages_lead_on_and_back(ended: Batch, operator: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr("batches.admin.lines_page.LINES", 2)
    first = lines_of(operator, ended, state="failed")
    assert (first.context["first"], first.context["previous"]) == ("", "")

    second = follow(operator, first, "more")

    assert (numbers(first), numbers(second)) == ([2, 5], [6])
    assert (second.context["first"], second.context["more"]) == ("?state=failed", "")
    assert second.context["previous"] == "?state=failed"


def follow(client: Client, page: Any, link: str) -> Any:
    """Press one of the links to other pages, which must stand on this one."""
    url = page.context[link]
    assert f'href="{escape(url)}"' in page.content.decode()
    return client.get(page.wsgi_request.path + url)


def test_each_page_leads_to_the_one_it_came_from(
    ended: Batch, operator: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr("batches.admin.lines_page.LINES", 2)
    page = lines_of(operator, ended, q="")
    seen = []
    while page.context["more"]:
        seen.append(numbers(page))
        page = follow(operator, page, "more")
    assert numbers(page) == [9]

    while page.context["previous"]:
        page = follow(operator, page, "previous")
        assert numbers(page) == seen.pop()

    assert (seen, numbers(page)) == ([], [1, 2])


def test_the_way_back_is_not_longer_than_an_address_may_be(
    ended: Batch, operator: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr("batches.admin.lines_page.LINES", 1)
    monkeypatch.setattr("batches.admin.lines_page.BACK", 2)
    page = lines_of(operator, ended)
    for _ in range(5):
        page = follow(operator, page, "more")

    assert page.context["previous"] == "?from=1.1&back=1.0"
    nonsense = lines_of(operator, ended, **{"from": "1.2", "back": "x-9.9.9--0.1-"})
    assert nonsense.context["previous"] == "?from=0.1"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1", [1, 2]),
        ("3", [3, 4]),
        ("4", [4, 5]),
        ("9", [9]),
        ("10", [9]),
        ("0", [1, 2]),
        ("9" * 40, [9]),
        ("-1", [1, 2]),
        ("x", [1, 2]),
    ],
)
def test_a_line_is_gone_to_by_its_number(
    line: str, expected: list[int], ended: Batch, operator: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr("batches.admin.lines_page.LINES", 2)

    assert numbers(lines_of(operator, ended, line=line)) == expected


def test_a_line_is_gone_to_among_those_that_are_chosen(ended: Batch, operator: Client) -> None:
    page = lines_of(operator, ended, state="failed", cause="http_400", line="5")

    assert numbers(page) == [5, 6]
    form = page.content.decode().partition('class="go-to-line"')[2].partition("</form>")[0]
    assert 'name="state" value="failed"' in form
    assert 'name="cause" value="http_400"' in form
    assert 'max="9"' in form


def test_a_batch_without_lines_yet_has_none_to_go_to(account: Account, operator: Client) -> None:
    page = lines_of(operator, submit(account, b"{}\n"), line="7")

    assert numbers(page) == []
    assert "go-to-line" not in page.content.decode()


def test_a_look_that_found_nothing_yet_leads_on(
    ended: Batch, operator: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr(inspection, "LOOKS", 1)

    page = lines_of(operator, ended, q="8")

    assert numbers(page) == []
    assert "None among the lines that were looked through." in page.content.decode()
    assert ">Look on</a>" in page.content.decode()


@pytest.mark.parametrize("is_running", [False, True])
def test_a_page_asks_little(
    is_running: bool, account: Account, operator: Client, django_assert_max_num_queries: Any
) -> None:
    batch = run(start(account, 300), failing={"7"}, most=40)
    if is_running:
        claimed(batch.shards.get(number=50))
    for query in ({}, {"q": "299"}, {"from": "39.0"}, {"line": "299", "back": "1.0"}):
        with django_assert_max_num_queries(10):
            lines_of(operator, batch, **query)


def test_a_line_asks_little(ended: Batch, django_assert_max_num_queries: Any) -> None:
    auditor = logged_in(in_role("auditor"))
    read(auditor, ended, "0.1")

    with django_assert_max_num_queries(10):
        assert read(auditor, ended, "0.1").status_code == 200


# Reading


def test_a_line_is_shown_with_its_request_and_its_answer(ended: Batch) -> None:
    page = read(logged_in(in_role("auditor")), ended, "0.1")

    request, answer = page.context["parts"]
    assert json.loads(request["text"]) == {"model": "m", "messages": []}
    assert json.loads(answer["text"])["response"]["status_code"] == 400
    assert "<title>" in page.content.decode()


def test_a_dialog_gets_a_piece(ended: Batch) -> None:
    piece = read(logged_in(in_role("auditor")), ended, "0.1", x_requested_with="dialog")

    assert "<title>" not in piece.content.decode()
    assert "data-close" in piece.content.decode()


def test_a_look_at_a_line_is_logged_once_for_each_line_and_operator(ended: Batch) -> None:
    one, other = (logged_in(in_role("auditor")) for _ in range(2))

    for client, place in ((one, "0.1"), (one, "0.1"), (one, "1.0"), (other, "0.1")):
        assert read(client, ended, place).status_code == 200

    looks = [(act.operator, act.verb, act.parameters) for act in Act.objects.order_by("pk")]
    assert looks == [
        (name_of(one), "read a line", {"line": 2}),
        (name_of(one), "read a line", {"line": 4}),
        (name_of(other), "read a line", {"line": 2}),
    ]


def test_who_may_not_read_content_sees_lines_and_opens_none(ended: Batch, operator: Client) -> None:
    assert "data-dialog" not in lines_of(operator, ended).content.decode()

    assert read(operator, ended, "0.1").status_code == 403
    assert Act.objects.count() == 0


@pytest.mark.parametrize("place", ["0.3", "9.0", "x"])
def test_what_is_no_line_is_not_there(place: str, ended: Batch, admin_client: Client) -> None:
    assert read(admin_client, ended, place).status_code == 404
    assert Act.objects.count() == 0


def test_strangers_text_is_escaped_and_visible(account: Account, admin_client: Client) -> None:
    body = json.dumps({"model": "m", "messages": [EVIL, TURNED]})
    batch = run(start(account, request_line(EVIL, body) + request_line(TURNED, body)))

    pages = [lines_of(admin_client, batch), read(admin_client, batch, "0.1")]

    for page in pages:
        text = page.content.decode()
        assert EVIL not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "\u202e" not in text
        assert "⟨U+202E⟩" in text


def test_long_content_is_cut_and_its_size_told(account: Account, admin_client: Client) -> None:
    body = json.dumps({"model": "m", "messages": ["x" * 2 * inspection.SHOWN_BYTES]})
    batch = run(start(account, request_line("a", body)))

    page = read(admin_client, batch, "0.0").content.decode()

    assert "512 KB" in page
    assert " bytes more</pre>" in page
    assert len(page) < 2 * inspection.SHOWN_BYTES


# Running chosen ones again


def test_ticked_lines_run_again(ended: Batch, operator: Client) -> None:
    page = lines_of(operator, ended)
    assert page.content.decode().count('name="lines"') == 3

    question = operator.get(page.context["ask_url"], {"lines": ["2", "6"]})
    assert 'value="2, 6"' in question.content.decode()
    confirm(operator, question, **{"with-lines": "2, 6"})

    ended.refresh_from_db()
    assert (ended.status, ended.failed) == (Status.IN_PROGRESS, 1)
    assert Act.objects.get().verb == REQUEUE_LINES.name


def test_nothing_is_to_tick_for_who_may_not_or_while_it_runs(
    ended: Batch, account: Account, operator: Client
) -> None:
    running = run(start(account, 6), failing={"0"}, most=1)

    pages = [lines_of(logged_in(in_role("viewer")), ended), lines_of(operator, running)]

    assert all('type="checkbox"' not in page.content.decode() for page in pages)


# Who may do what

ROLES = {
    "viewer": (False, False),
    "operator": (False, True),
    "auditor": (True, False),
    "admin": (True, True),
}  # may read content, may act


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_what_it_may(role: str, ended: Batch) -> None:
    client, (may_read, _) = logged_in(in_role(role)), ROLES[role]
    pages = {
        page_of(ended): True,
        page_of(ended).replace("/change/", "/lines/"): True,
        page_of(ended).replace("/change/", "/lines/0.0/"): may_read,
        page_of(ended).replace("/change/", "/history/"): role != "viewer",
    }

    found = {path: client.get(path).status_code for path in pages}

    assert found == {path: 200 if may else 403 for path, may in pages.items()}
    assert client.post(page_of(ended), {"status": "failed"}).status_code == 403


def test_who_may_not_look_at_batches_sees_none(ended: Batch) -> None:
    client = with_permissions("batches.view_content", "batches.cancel_batch")

    for what in ("change", "lines", "lines/0.0", "do/cancel-batches"):
        path = page_of(ended).replace("/change/", f"/{what}/")
        assert client.get(path).status_code == 403
