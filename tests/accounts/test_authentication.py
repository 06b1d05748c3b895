import datetime
import threading

import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import SCOPES, Account, ApiKey
from api.clock import database_now
from tests.factories import (
    FILES,
    AccountFactory,
    client_of,
    error_of,
    secret_of,
    upload,
    with_secret,
)

USER = {"X-On-Behalf-Of": "user-1"}


def status(client: Client) -> int:
    return int(client.get(FILES).status_code)


def test_a_key_opens_the_api(api: Client) -> None:
    assert status(api) == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_may_be_written_as_one_likes(scheme: str, account: Account) -> None:
    client = Client(headers={"Authorization": f"{scheme} {secret_of(account)}"})

    assert status(client) == 200


@pytest.mark.django_db
def test_no_key_is_told_how_to_send_one(client: Client) -> None:
    response = client.get(FILES)

    error = error_of(response)
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert error["message"].startswith("You didn't provide an API key.")


def test_every_wrong_key_gets_the_same_answer(account: Account) -> None:
    now = database_now()
    good = secret_of(account)
    expired = secret_of(account, expires_at=now)
    revoked = secret_of(account)
    ApiKey.objects.get(prefix=revoked.rpartition("_")[0][:16]).revoke()
    disabled = secret_of(AccountFactory(is_active=False))
    forged = good[:-1] + ("a" if good[-1] != "a" else "b")
    unknown = "lsk_" + "0" * 12 + "_" + "a" * 43
    wrong = [expired, revoked, disabled, forged, unknown, "x", good + " ", good + " x", "\x7f"]

    answers = [with_secret(secret).get(FILES) for secret in wrong]

    assert {answer.status_code for answer in answers} == {401}
    assert {error_of(answer)["code"] for answer in answers} == {"invalid_api_key"}
    (content,) = {answer.content for answer in answers}
    assert b"lsk_" not in content


def test_a_key_expires_at_its_second(account: Account) -> None:
    soon = database_now() + datetime.timedelta(minutes=1)

    assert status(client_of(account, expires_at=soon)) == 200


def test_a_key_is_noted_as_used_at_most_once_a_minute(account: Account) -> None:
    client = client_of(account)
    client.get(FILES)
    first = ApiKey.objects.get().last_used_at
    client.get(FILES)

    assert first is not None
    assert ApiKey.objects.get().last_used_at == first


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_its_own_right_only(scope: str, account: Account) -> None:
    client = client_of(account, scopes=[scope])

    answers = {
        "files:read": client.get(FILES),
        "files:write": upload(client),
    }

    for needed, answer in answers.items():
        if needed == scope:
            assert answer.status_code == 200
        else:
            error = error_of(answer)
            assert (answer.status_code, error["type"]) == (403, "permission_error")
            assert error["message"] == f"This API key lacks the scope '{needed}'."


def test_an_external_user_is_made_on_first_use(behalf: Client, account: Account) -> None:
    for _ in range(2):
        assert behalf.get(FILES, headers=USER).status_code == 200

    assert [user.external_id for user in account.external_users.all()] == ["user-1"]


@pytest.mark.parametrize("user", ["a", "A.Z_0:9@x/y+z=-", "x" * 128])
def test_the_whole_grammar_of_an_external_id_is_accepted(user: str, behalf: Client) -> None:
    assert behalf.get(FILES, headers={"X-On-Behalf-Of": user}).status_code == 200


@pytest.mark.parametrize(
    "user", ["", " ", "a b", "a,b", "a\tb", "x" * 129, "ü", "a;b", "<a>", "a\n"]
)
def test_anything_else_is_refused(user: str, behalf: Client, account: Account) -> None:
    response = behalf.get(FILES, headers={"X-On-Behalf-Of": user})

    error = error_of(response)
    assert (response.status_code, error["code"]) == (400, "invalid_on_behalf_of")
    assert error["param"] == "X-On-Behalf-Of"
    assert not account.external_users.exists()


def test_a_key_that_may_not_act_for_others_is_refused(api: Client, account: Account) -> None:
    response = api.get(FILES, headers=USER)

    assert (response.status_code, error_of(response)["code"]) == (403, "on_behalf_of_forbidden")
    assert not account.external_users.exists()


def test_a_key_that_must_act_for_others_sees_nothing_without(account: Account) -> None:
    client = client_of(account, on_behalf_of=ApiKey.OnBehalfOf.REQUIRED)

    response = client.get(FILES)

    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_on_behalf_of")
    assert client.get(FILES, headers=USER).status_code == 200


def test_a_wrong_key_is_refused_before_its_external_user_is_looked_at(account: Account) -> None:
    response = with_secret("wrong").get(FILES, headers={"X-On-Behalf-Of": "a b"})

    assert response.status_code == 401


def test_a_request_asks_little_of_the_database(
    behalf: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    behalf.get(FILES, headers=USER)
    with django_assert_num_queries(3):  # the key with the time, the external user, the page
        behalf.get(FILES, headers=USER)


@pytest.mark.django_db(transaction=True)
def test_first_uses_at_once_make_one_external_user(account: Account) -> None:
    secret = secret_of(account, on_behalf_of=ApiKey.OnBehalfOf.ALLOWED)
    start = threading.Barrier(4)
    answers = []

    def use() -> None:
        try:
            start.wait(timeout=10)
            answers.append(with_secret(secret).get(FILES, headers=USER).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 4
    assert account.external_users.count() == 1
