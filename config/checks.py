"""Settings that contradict each other or the machine, told at start and not in the night.

Every check has an id, `longshore.E...` or `longshore.W...`, and a hint that says what to change.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from api.commands import SETTINGS
from files.storage import storage

GUARD_CYCLES = (0.25, 0.5, 1)
LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]"}
WINDOW = re.compile(r"[1-9][0-9]{0,3}h")
ENDPOINT = re.compile(r"/v1/[a-z0-9/_-]+")


def queue_is_the_database(**_: Any) -> list[CheckMessage]:
    if settings.Q_CLUSTER.get("orm") == "default":
        return []
    return [
        Error(
            "The queue is not on the default database.",
            hint='Set Q_CLUSTER["orm"] to "default": a row and its task are written in one transaction.',
            id="longshore.E001",
        )
    ]


def guard_cycle_reaches_zero(**_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"guard_cycle of the cluster {name} is {cluster.get('guard_cycle')}.",
            hint="Set it to 0.25, 0.5 or 1; with another, django-q2 never sees that a task timed out.",
            id="longshore.E002",
        )
        for name, cluster in _clusters()
        if cluster.get("guard_cycle") not in GUARD_CYCLES
    ]


def queue_limit_is_set(**_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"queue_limit of the cluster {name} is {cluster.get('queue_limit')}.",
            hint="Set it to at least 1: tasks taken ahead of time are lost with the process.",
            id="longshore.E003",
        )
        for name, cluster in _clusters()
        if not cluster.get("queue_limit", 0) > 0
    ]


def retry_comes_after_timeout(**_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"retry of the cluster {name} is not above its timeout.",
            hint="Raise retry, or each task is given out again while it still runs.",
            id="longshore.E004",
        )
        for name, cluster in _clusters()
        if not cluster.get("retry", 0) > cluster.get("timeout", 0)
    ]


def sqlite_takes_writers_in_turn(**_: Any) -> list[CheckMessage]:
    database = settings.DATABASES["default"]
    if not database["ENGINE"].endswith("sqlite3"):
        return []
    options = database.get("OPTIONS", {})
    found: list[CheckMessage] = []
    if options.get("transaction_mode") != "IMMEDIATE":
        found.append(
            Error(
                "SQLite is used without transaction_mode IMMEDIATE.",
                hint='Set OPTIONS["transaction_mode"] to "IMMEDIATE", or writers fail as "locked".',
                id="longshore.E005",
            )
        )
    if "journal_mode=wal" not in options.get("init_command", "").lower().replace(" ", ""):
        found.append(
            Error(
                "SQLite is used without its write-ahead log.",
                hint='Put "PRAGMA journal_mode=WAL" into OPTIONS["init_command"].',
                id="longshore.E006",
            )
        )
    return found


def storage_is_writable(**_: Any) -> list[CheckMessage]:
    try:
        storage().check()
    except OSError as error:
        return [
            Error(
                f"The storage cannot be written: {error}",
                hint="Give the service's user the directory STORAGE_DIR, or name another one.",
                id="longshore.E007",
            )
        ]
    return []


def debug_stays_at_home(**_: Any) -> list[CheckMessage]:
    if not settings.DEBUG or set(settings.ALLOWED_HOSTS) <= LOCAL_HOSTS:
        return []
    return [
        Warning(
            "DEBUG is on and the service answers to names other than localhost.",
            hint="Unset DEBUG: its error pages show settings and source code to every caller.",
            id="longshore.W008",
        )
    ]


def proxies_are_counted(**_: Any) -> list[CheckMessage]:
    if not settings.HTTPS or settings.PROXIES:
        return []
    return [
        Warning(
            "HTTPS is on, which takes a proxy, and PROXIES is 0.",
            hint="Set PROXIES to the number of your proxies, or failed logins of all callers count as the proxy's.",
            id="longshore.W011",
        )
    ]


def windows_can_be_read(**_: Any) -> list[CheckMessage]:
    return _unreadable("BATCH_COMPLETION_WINDOWS", WINDOW, "Write whole hours, as in 24h.", "E009")


def endpoints_can_be_read(**_: Any) -> list[CheckMessage]:
    return _unreadable(
        "BATCH_ENDPOINTS", ENDPOINT, "Write the path alone, as in /v1/chat/completions.", "E010"
    )


def proxy_has_its_transport(**_: Any) -> list[CheckMessage]:
    if not settings.UPSTREAM_PROXY or settings.TRANSPORT == "aiohttp":
        return []
    return [
        Error(
            "UPSTREAM_PROXY is set, but the transport knows no proxies.",
            hint="Set TRANSPORT=aiohttp too, or unset UPSTREAM_PROXY.",
            id="longshore.E012",
        )
    ]


CHECKS: Sequence[Callable[..., list[CheckMessage]]] = (
    queue_is_the_database,
    guard_cycle_reaches_zero,
    queue_limit_is_set,
    retry_comes_after_timeout,
    sqlite_takes_writers_in_turn,
    storage_is_writable,
    debug_stays_at_home,
    proxies_are_counted,
    windows_can_be_read,
    endpoints_can_be_read,
    proxy_has_its_transport,
)


def register_checks() -> None:
    for check in CHECKS:
        register(check, SETTINGS)


def _clusters() -> list[tuple[str, Mapping[str, Any]]]:
    """Return each cluster's name with what holds for it: its own settings over the common ones."""
    common: dict[str, Any] = settings.Q_CLUSTER
    others: dict[str, dict[str, Any]] = common.get("ALT_CLUSTERS", {})
    return [(common["name"], common)] + [(name, common | own) for name, own in others.items()]


def _unreadable(
    setting: str, grammar: re.Pattern[str], hint: str, number: str
) -> list[CheckMessage]:
    values = getattr(settings, setting)
    return [
        Error(f"{setting} has the value {value!r}.", hint=hint, id=f"longshore.{number}")
        for value in values
        if not grammar.fullmatch(value)
    ] or ([] if values else [Error(f"{setting} is empty.", hint=hint, id=f"longshore.{number}")])
