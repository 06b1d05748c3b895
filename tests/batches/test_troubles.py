"""Each trouble is told when it is due, and with what to do about it."""

import datetime

import pytest
from django.utils import timezone
from django_q.models import Failure

from accounts.models import Account
from api.clock import database_now
from batches import overview, troubles
from batches.executor.retry import KEY_REFUSED
from batches.models import Upstream
from tests.batches.factories import HOUR, make_host, make_upstream, start


def told() -> list[str]:
    workers, _ = overview.workers()
    found = troubles.troubles(overview.work(), overview.upstreams(), workers)
    assert all(trouble.advice for trouble in found)
    return [trouble.text for trouble in found]


def test_a_healthy_service_has_no_troubles(account: Account) -> None:
    make_upstream()
    make_host()

    assert told() == []


def test_nobody_working_is_told_with_what_waits(account: Account) -> None:
    start(account, 2)

    assert told() == ["No worker is running, and 1 batch waits."]


def test_a_worker_that_fell_silent_is_named(db: None) -> None:
    make_upstream()
    make_host()
    make_host(id="dead", name="gone", lease_expires_at=database_now() - HOUR)

    (text,) = told()
    assert text.startswith("The worker gone (7) has not been heard of since ")


def test_different_versions_are_told(db: None) -> None:
    make_upstream()
    make_host(version="0.0.9")

    assert told() == ["Web server and workers run different versions: 0.0.9, 0.1.0."]


def test_trouble_of_upstreams_is_told(db: None) -> None:
    make_host()
    assert told() == ["There is no upstream, so no batch can run."]

    paused, down = make_upstream(name="one"), make_upstream(name="two")
    paused.pause("The key is refused.")
    Upstream.note_down(down.pk, "HTTP 502")
    first, second = told()
    assert first == "The upstream one is paused: The key is refused."
    assert second.startswith("The upstream two answers nobody since ")
    assert second.endswith(": HTTP 502")


def failed(func: str, number: int, ago: datetime.timedelta) -> None:
    at = timezone.now() - ago
    Failure.objects.create(
        id=f"{func} {number}", name="n", func=func, started=at, stopped=at, success=False
    )


def test_tasks_that_failed_within_a_day_are_told_with_their_function(db: None) -> None:
    make_upstream()
    make_host()
    minute = datetime.timedelta(minutes=1)
    for number in range(2):
        failed("batches.tasks.run_turn", number, (5 + number) * minute)
    failed("batches.tasks.run_turn", 2, 24 * HOUR + minute)
    failed("batches.tasks.sweep", 0, 2 * HOUR)

    (text,) = told()
    last = Failure.objects.order_by("-stopped")[0].stopped
    each = "2 of run_turn, 1 of sweep"
    assert text == (
        f"3 tasks failed in the last 24 hours: {each}; the last at {last:%Y-%m-%d %H:%M:%S} UTC."
    )


def test_a_disk_that_is_nearly_full_is_told(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    make_upstream()
    make_host()
    monkeypatch.setattr(troubles, "DISK_FULL", 0.0)

    found = told()
    assert all(text.startswith("The disk of the ") for text in found)
    assert "storage" in " ".join(found)
    assert "data directory" in " ".join(found)


def test_what_to_do_about_a_refused_key_is_to_correct_it(db: None) -> None:
    make_host()
    make_upstream(name="one").pause(f"{KEY_REFUSED} (HTTP 401).")
    make_upstream(name="two").pause("operator anna: new GPUs")
    workers, _ = overview.workers()

    first, second = troubles.troubles(overview.work(), overview.upstreams(), workers)

    assert first.advice.startswith("Correct its key")
    assert second.advice.startswith("Resume it")
    assert (first.about, first.row) == ("upstreams", Upstream.objects.get(name="one").pk)
