"""How often every page asks the database, whatever it shows."""

import pytest
from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.console.paths import APPS, common_pages, pages_of, pages_of_batches
from tests.console.world import populate

MOST = 10
BOUNDS = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")  # of transactions

pytestmark = pytest.mark.django_db(transaction=True)


def counted(client: Client, path: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        assert client.get(path).status_code == 200, path
    return sum(not query["sql"].startswith(BOUNDS) for query in asked)


@pytest.fixture(autouse=True)
def world() -> None:
    populate()
    # What each process asks once.
    ContentType.objects.get_for_models(*admin.site._registry)


@pytest.mark.parametrize("app", ["", *APPS])
def test_no_page_asks_more_than_ten_times(app: str, admin_client: Client) -> None:
    asked = {
        path: counted(admin_client, path) for path in (pages_of(app) if app else common_pages())
    }

    assert asked
    assert {path: times for path, times in asked.items() if times > MOST} == {}


def test_no_page_of_a_batch_asks_more_than_ten_times(admin_client: Client) -> None:
    asked = {path: counted(admin_client, path) for path in pages_of_batches()}

    assert {path: times for path, times in asked.items() if times > MOST} == {}
