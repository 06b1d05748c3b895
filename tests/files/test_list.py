import datetime

import pytest
from django.test import Client

from accounts.models import Account
from api.clock import database_now
from files.models import File
from tests.factories import FILES, FileFactory, error_of

UNKNOWN = "file-" + "0" * 32


@pytest.fixture
def five(account: Account) -> list[str]:
    """Five files, oldest first; the middle three were made at the same moment."""
    start = database_now()
    moments = [0, 1, 1, 1, 2]
    files = [
        FileFactory(account, created_at=start + datetime.timedelta(seconds=second))
        for second in moments
    ]
    return [file.pk for file in sorted(files, key=lambda file: (file.created_at, file.pk))]


def ids(response: object) -> list[str]:
    return [file["id"] for file in response.json()["data"]]  # type: ignore[attr-defined]


def test_an_empty_list(api: Client) -> None:
    assert api.get(FILES).json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_files_come_newest_first(api: Client, five: list[str]) -> None:
    assert ids(api.get(FILES)) == five[::-1]
    assert ids(api.get(FILES, {"order": "asc"})) == five


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_hold_every_file_once(order: str, limit: int, api: Client, five: list[str]) -> None:
    found: list[str] = []
    query = {"limit": limit, "order": order}

    while True:
        page = api.get(FILES, query).json()
        found += [file["id"] for file in page["data"]]
        assert (page["first_id"], page["last_id"]) == (found[-len(page["data"])], found[-1])
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]

    assert found == (five if order == "asc" else five[::-1])


def test_a_purpose_filters(api: Client, account: Account, five: list[str]) -> None:
    other = FileFactory(account, purpose="user_data")

    assert ids(api.get(FILES, {"purpose": "user_data"})) == [other.pk]
    assert len(ids(api.get(FILES, {"purpose": "batch"}))) == 5


@pytest.mark.parametrize(
    ("query", "status", "param", "code"),
    [
        ("limit=0", 400, "limit", "integer_below_min_value"),
        ("limit=-1", 400, "limit", "integer_below_min_value"),
        ("limit=10001", 400, "limit", "integer_above_max_value"),
        ("limit=" + "9" * 5000, 400, "limit", "integer_above_max_value"),
        ("limit=abc", 400, "limit", "invalid_type"),
        ("limit=", 400, "limit", "invalid_type"),
        ("limit=1e30", 400, "limit", "invalid_type"),
        ("limit=1.5", 400, "limit", "invalid_type"),
        ("limit=٣", 400, "limit", "invalid_type"),
        ("limit=%00", 400, "limit", "invalid_type"),
        ("limit=1&limit=2", 400, "limit", "invalid_value"),
        ("order=up", 400, "order", "invalid_value"),
        ("purpose=x", 400, "purpose", "invalid_value"),
        ("after=", 400, "after", "invalid_value"),
        ("after=batch_1", 400, "after", "invalid_value"),
        ("after=file-1", 404, "after", None),
        ("after=file-%00", 404, "after", None),
        (f"after={UNKNOWN}", 404, "after", None),
        ("after=%FF%FE", 400, "after", "invalid_value"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_wrong_query_is_named(
    query: str, status: int, param: str, code: str | None, api: Client
) -> None:
    response = api.get(f"{FILES}?{query}")

    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (status, param, code)


def test_the_message_of_a_limit_is_openais(api: Client) -> None:
    assert error_of(api.get(FILES, {"limit": 10001}))["message"] == (
        "Invalid 'limit': integer above maximum value. "
        "Expected a value <= 10000, but got 10001 instead."
    )


def test_somebody_elses_after_is_as_unknown_as_a_random_one(
    stranger: Client, five: list[str]
) -> None:
    foreign = stranger.get(FILES, {"after": five[0]})
    unknown = stranger.get(FILES, {"after": UNKNOWN})

    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content == unknown.content.replace(UNKNOWN.encode(), five[0].encode())


def test_expired_files_are_gone_at_once(api: Client, five: list[str]) -> None:
    File.objects.filter(pk=five[0]).update(expires_at=database_now())

    assert five[0] not in ids(api.get(FILES))
    assert api.get(f"{FILES}/{five[0]}").status_code == 404
