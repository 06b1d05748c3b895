from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks

from config.checks import CHECKS


def ids() -> list[str | None]:
    return [message.id for check in CHECKS for message in check()]


def test_the_settings_as_they_come_are_in_order() -> None:
    assert ids() == []


def test_the_checks_run_with_django() -> None:
    assert run_checks() == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"orm": None}, ["longshore.E001"]),
        ({"guard_cycle": 0.3}, ["longshore.E002", "longshore.E002"]),
        ({"queue_limit": 0}, ["longshore.E003"]),
        ({"retry": 100, "timeout": 100}, ["longshore.E004"]),
        ({"ALT_CLUSTERS": {"engine": {"queue_limit": 0}}}, ["longshore.E003"]),
    ],
)
def test_a_queue_that_would_lose_work_is_told(
    change: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "Q_CLUSTER", settings.Q_CLUSTER | change)

    assert ids() == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"init_command": "PRAGMA journal_mode=WAL;"}, ["longshore.E005"]),
        ({"transaction_mode": "IMMEDIATE"}, ["longshore.E006"]),
        ({}, ["longshore.E005", "longshore.E006"]),
    ],
)
def test_a_sqlite_that_would_lock_is_told(
    options: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": options}
    monkeypatch.setattr(settings, "DATABASES", {"default": database})

    assert ids() == expected


def test_postgresql_needs_none_of_sqlites_options(monkeypatch: pytest.MonkeyPatch) -> None:
    database = {"ENGINE": "django.db.backends.postgresql"}
    monkeypatch.setattr(settings, "DATABASES", {"default": database})

    assert ids() == []


def test_a_storage_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setattr(settings, "STORAGE_DIR", tmp_path / "file" / "storage")

    assert ids() == ["longshore.E007"]


@pytest.mark.parametrize(
    ("hosts", "expected"), [(["localhost"], []), (["api.example"], ["longshore.W008"])]
)
def test_debug_in_public_is_told(
    hosts: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DEBUG", True)
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", hosts)

    assert ids() == expected


@pytest.mark.parametrize(
    ("https", "proxies", "expected"), [(False, 0, []), (True, 1, []), (True, 0, ["longshore.W011"])]
)
def test_a_proxy_that_is_not_counted_is_told(
    https: bool, proxies: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "HTTPS", https)
    monkeypatch.setattr(settings, "PROXIES", proxies)

    assert ids() == expected


@pytest.mark.parametrize("window", ["", "24", "0h", "-1h", "24H", "1d"])
def test_a_window_that_cannot_be_read_is_told(window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BATCH_COMPLETION_WINDOWS", ["24h", window])

    assert ids() == ["longshore.E009"]


@pytest.mark.parametrize("endpoint", ["chat", "https://x/v1/chat", "/v1/chat?x", "/v2/chat"])
def test_an_endpoint_that_cannot_be_read_is_told(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "BATCH_ENDPOINTS", [endpoint])

    assert ids() == ["longshore.E010"]


def test_no_endpoint_at_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BATCH_ENDPOINTS", [])

    assert ids() == ["longshore.E010"]


@pytest.mark.parametrize(("transport", "expected"), [("http", ["longshore.E012"]), ("aiohttp", [])])
def test_a_proxy_that_nobody_would_use_is_told(
    transport: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "UPSTREAM_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setattr(settings, "TRANSPORT", transport)

    assert ids() == expected
