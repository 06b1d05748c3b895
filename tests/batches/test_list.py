"""GET /batches: the caller's own, newest first, page by page."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import Account, ExternalUser, Owner
from batches.models import Batch
from tests.batches.factories import request_lines, submit
from tests.factories import AccountFactory, error_of

BATCHES = "/v1/batches"


def listed(client: Client, **query: Any) -> Any:
    answer = client.get(BATCHES, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def make(owner: Account | Owner, count: int) -> list[str]:
    """Make batches and return their ids, newest first."""
    return [submit(owner, request_lines(1)).pk for _ in range(count)][::-1]


def test_batches_come_newest_first_page_by_page(api: Client, account: Account) -> None:
    expected = make(account, 25)

    first = listed(api)
    assert list(first) == ["object", "data", "first_id", "last_id", "has_more"]
    assert [batch["id"] for batch in first["data"]] == expected[:20]
    assert (first["object"], first["has_more"]) == ("list", True)
    assert (first["first_id"], first["last_id"]) == (expected[0], expected[19])
    second = listed(api, after=first["last_id"])
    assert [batch["id"] for batch in second["data"]] == expected[20:]
    assert second["has_more"] is False


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_following_the_pages_meets_every_batch_once(
    api: Client, account: Account, limit: int
) -> None:
    expected = make(account, 7)
    Batch.objects.update(created_at=Batch.objects.latest("created_at").created_at)  # all at once

    found: list[str] = []
    more = True
    while more:
        after = {"after": found[-1]} if found else {}
        page = listed(api, limit=limit, **after)
        found += [batch["id"] for batch in page["data"]]
        more = page["has_more"]
    assert sorted(found) == sorted(expected)


def test_a_new_batch_does_not_shift_the_pages(api: Client, account: Account) -> None:
    old = make(account, 4)
    page = listed(api, limit=2)
    make(account, 3)
    after = listed(api, limit=2, after=page["last_id"])
    assert [batch["id"] for batch in after["data"]] == old[2:]


def test_no_batches_are_an_empty_page(api: Client) -> None:
    page = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert listed(api) == page


def test_everybody_sees_their_own(api: Client, behalf: Client, account: Account) -> None:
    (own,) = make(account, 1)
    user = ExternalUser.objects.create(account=account, external_id="them")
    (theirs,) = make(Owner(account, user), 1)
    make(AccountFactory(), 1)

    assert [batch["id"] for batch in listed(api)["data"]] == [own]
    as_them = behalf.get(BATCHES, headers={"X-On-Behalf-Of": "them"}).json()
    assert [batch["id"] for batch in as_them["data"]] == [theirs]
    as_other = behalf.get(BATCHES, headers={"X-On-Behalf-Of": "other"}).json()
    assert as_other["data"] == []


@pytest.mark.parametrize("limit", ["1", "100"])
def test_a_limit_within_bounds_is_taken(api: Client, limit: str) -> None:
    assert listed(api, limit=limit)["data"] == []


@pytest.mark.parametrize(
    ("limit", "code", "message"),
    [
        ("0", "integer_below_min_value", "Expected a value >= 1, but got 0 instead."),
        ("-1", "integer_below_min_value", "Expected a value >= 1, but got -1 instead."),
        (
            "101",
            "integer_above_max_value",
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        ),
        ("9" * 5000, "integer_above_max_value", "Expected a value <= 100"),
        ("abc", "invalid_type", "expected an integer"),
        ("1e30", "invalid_type", "expected an integer"),
        ("٣", "invalid_type", "expected an integer"),
        ("", "invalid_type", "expected an integer"),
        ("1.0", "invalid_type", "expected an integer"),
        (["1", "2"], "invalid_value", "given twice"),
    ],
)
def test_a_wrong_limit_is_refused(api: Client, limit: Any, code: str, message: str) -> None:
    answer = api.get(BATCHES, {"limit": limit})
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, code, "limit")
    assert message in error["message"]
    assert len(error["message"]) < 250


def test_a_page_after_what_is_not_yours_is_not_there(api: Client) -> None:
    (foreign,) = make(AccountFactory(), 1)
    unknown = "batch_" + "0" * 32
    answers = [api.get(BATCHES, {"after": after}) for after in (foreign, unknown)]

    for answer, after in zip(answers, (foreign, unknown), strict=True):
        assert answer.status_code == 404
        assert error_of(answer) == {
            "message": f"No batch found with id '{after}'.",
            "type": "invalid_request_error",
            "param": "after",
            "code": None,
        }


@pytest.mark.parametrize("after", ["file-1", "x", "", "\x00"])
def test_a_page_after_another_kind_of_id_is_refused(api: Client, after: str) -> None:
    answer = api.get(BATCHES, {"after": after})
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", "after")
