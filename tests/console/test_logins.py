"""Guessing a password gets slow at once, and nobody who knows it is kept out from elsewhere."""

import datetime
import re
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from console import logins
from console.models import LoginFailure
from tests.support.threads import race

LOGIN = reverse("admin:login")
PASSWORD = "correct horse battery"


@pytest.fixture
def anna(db: None, monkeypatch: pytest.MonkeyPatch) -> User:
    quick = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    monkeypatch.setattr(settings, "PASSWORD_HASHERS", quick)
    monkeypatch.setattr(settings, "LOGIN_FAILURES", 3)
    return User.objects.create_user("anna", password=PASSWORD, is_staff=True)


def log_in(password: str, name: str = "anna", address: str = "192.0.2.1") -> Any:
    return Client().post(LOGIN, {"username": name, "password": password}, REMOTE_ADDR=address)


def came_in(response: Any) -> bool:
    return bool(response.status_code == 302)


def fail(times: int, name: str = "anna", address: str = "192.0.2.1") -> None:
    for _ in range(times):
        assert not came_in(log_in("wrong", name, address))


def let_pass(seconds: float) -> None:
    for failure in LoginFailure.objects.all():
        failure.at -= datetime.timedelta(seconds=seconds)
        failure.save()


def test_a_correct_password_comes_in(anna: User) -> None:
    assert came_in(log_in(PASSWORD))
    assert LoginFailure.objects.count() == 0


def test_after_so_many_failures_not_even_the_correct_password_comes_in(anna: User) -> None:
    fail(3)

    response = log_in(PASSWORD)

    assert not came_in(response)
    assert response.status_code == 429
    assert "Too many logins have failed. Try again in 15 min." in response.content.decode()


def test_one_failure_less_is_none_too_many(anna: User) -> None:
    fail(2)

    assert came_in(log_in(PASSWORD))


def test_success_clears_the_count(anna: User) -> None:
    fail(2)
    log_in(PASSWORD)
    fail(2)

    assert came_in(log_in(PASSWORD))


def test_the_wait_ends_however_often_somebody_asks(anna: User) -> None:
    fail(3)
    let_pass(settings.LOGIN_LOCK_SECONDS - 30)
    for _ in range(5):
        assert re.search(r"Try again in [123]\d s\.", log_in("wrong").content.decode())
    let_pass(31)

    assert came_in(log_in(PASSWORD))


def test_from_elsewhere_the_same_name_comes_in(anna: User) -> None:
    fail(3)

    assert came_in(log_in(PASSWORD, address="192.0.2.2"))


def test_another_name_from_there_is_asked(anna: User) -> None:
    fail(3, name="bob")

    assert came_in(log_in(PASSWORD))


def test_a_network_of_ipv6_counts_as_one(anna: User) -> None:
    for number in range(3):
        fail(1, address=f"2001:db8::{number + 1}")

    assert not came_in(log_in(PASSWORD, address="2001:db8::ffff"))


def test_an_address_that_tries_many_names_has_to_wait(
    anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "LOGIN_FAILURES_OF_ADDRESS", 4)
    for name in ("a", "b", "c", "d"):
        fail(1, name=name)

    assert log_in(PASSWORD).status_code == 429
    assert came_in(log_in(PASSWORD, address="192.0.2.2"))


def test_the_address_behind_a_proxy_counts_and_not_the_proxys(
    anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "PROXIES", 1)
    form = {"username": "anna", "password": "wrong"}
    for number in range(3):  # what the caller writes there himself makes no difference
        headers = {"X-Forwarded-For": f"203.0.113.{number}, 192.0.2.1"}
        Client().post(LOGIN, form, headers=headers, REMOTE_ADDR="10.0.0.1")

    locked = Client().post(
        LOGIN,
        form | {"password": PASSWORD},
        headers={"X-Forwarded-For": "192.0.2.1"},
        REMOTE_ADDR="10.0.0.1",
    )

    assert locked.status_code == 429


def test_a_name_that_is_no_name_is_no_error(anna: User) -> None:
    for name in ("", "%00", "x" * 10_000, "%ED%A0%80", "%FF", "<script>"):
        response = Client().post(
            LOGIN, f"username={name}&password=x", content_type="application/x-www-form-urlencoded"
        )
        assert response.status_code in (200, 429)


def test_who_may_not_come_in_counts_as_well(anna: User) -> None:
    User.objects.filter(pk=anna.pk).update(is_staff=False)
    fail(1)
    log_in(PASSWORD)

    assert LoginFailure.objects.count() == 2


def test_neither_name_nor_password_is_kept(anna: User) -> None:
    fail(1, name="my-secret-password")

    row = str(list(LoginFailure.objects.values()))
    assert "my-secret-password" not in row
    assert "wrong" not in row


def test_old_failures_are_purged(anna: User) -> None:
    fail(2)
    let_pass(settings.LOGIN_LOCK_SECONDS + 1)
    fail(1)

    assert logins.purge() == 2
    assert LoginFailure.objects.count() == 1


def test_sessions_that_are_over_are_purged(anna: User) -> None:
    log_in(PASSWORD)
    log_in(PASSWORD)
    over = Session.objects.all()[0]
    over.expire_date -= datetime.timedelta(days=1)
    over.save()

    logins.purge()

    assert Session.objects.count() == 1
    assert over not in Session.objects.all()


@pytest.mark.django_db(transaction=True)
def test_of_many_tries_at_once_only_so_many_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LOGIN_FAILURES", 3)

    waits = race(*8 * [lambda: logins.begin("anna", "192.0.2.1")])

    assert sum(wait == 0 for wait in waits) <= 3
    assert LoginFailure.objects.count() <= 3
