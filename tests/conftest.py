"""Fixtures for everybody: a database of the test's own, storage of the test's own, and three callers."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import DjangoDbBlocker

from accounts.models import Account, ApiKey
from tests.factories import AccountFactory, client_of
from tests.support.server import Server, serving

# A busy machine says nothing about the code.
hypothesis_settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")

DATABASE_FIXTURES = {"db", "transactional_db", "django_db_setup", "_stack"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that are about another database or another system."""
    left_out = [item for item in items if not _is_about_this_machine(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_about_this_machine(item: pytest.Item) -> bool:
    # Other systems than Linux get the stock cluster, and have no /proc to look into.
    if sys.platform != "linux" and any(item.get_closest_marker(name) for name in ("e2e", "linux")):
        return False
    only_on = item.get_closest_marker("only_on")
    if only_on is not None:
        return connection.vendor in only_on.args
    return connection.vendor == "sqlite" or _is_about_a_database(item)


def _is_about_a_database(item: pytest.Item) -> bool:
    """Whether it may come out otherwise on another database. What may not is part of the suite on SQLite alone."""
    fixtures = set(getattr(item, "fixturenames", ()))
    asks = item.get_closest_marker("django_db") or not fixtures.isdisjoint(DATABASE_FIXTURES)
    is_of_browser = (
        "browser" in item.path.parts
    )  # what the pages ask for is tested without one, too
    return bool(item.get_closest_marker("e2e") or asks) and not is_of_browser


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, request: pytest.FixtureRequest
) -> None:
    """Keep SQLite in a file, as in production: a database in memory is never locked and never shared."""
    database = settings.DATABASES["default"]
    if database["ENGINE"].endswith("sqlite3"):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        database.setdefault("TEST", {})["NAME"] = str(settings.DATA_DIR / f"test_{worker}.sqlite3")


@pytest.fixture(autouse=True)
def storage_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own storage, empty; made on first use."""
    monkeypatch.setattr(settings, "STORAGE_DIR", tmp_path / "storage")
    return tmp_path / "storage"


@pytest.fixture
def account(db: None) -> Account:
    return AccountFactory()


@pytest.fixture
def api(account: Account) -> Client:
    """A client with a key of `account` that may do everything but act for others."""
    return client_of(account)


@pytest.fixture
def behalf(account: Account) -> Client:
    """A client with a key of `account` that may send X-On-Behalf-Of."""
    return client_of(account, on_behalf_of=ApiKey.OnBehalfOf.ALLOWED)


@pytest.fixture
def stranger(db: None) -> Client:
    """A client with a key of another account."""
    return client_of(AccountFactory())


@pytest.fixture(scope="session")
def _server(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    with django_db_blocker.unblock():
        name = str(connection.settings_dict["NAME"])
    base = os.environ["DATABASE_URL"]
    url = f"{base.rpartition('/')[0]}/{name}" if base else f"sqlite:///{name}"
    with serving(url, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def server(_server: Server, transactional_db: None) -> Server:
    """A real granian over the test's database, with storage of its own for the whole session."""
    return _server
