import datetime
import re
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse

from accounts.models import Account, ApiKey, ExternalUser
from api.clock import database_now
from console.models import Act
from tests.console.operators import ask, confirm, with_permissions
from tests.factories import FILES, AccountFactory, secret_of, with_secret

LIST = reverse("admin:accounts_apikey_changelist")
ADD = reverse("admin:accounts_apikey_add")
SECRET = re.compile(r"lsk_[0-9a-f]{12}_[\w-]{43}")


def make(client: Client, account: Account) -> Any:
    form = {
        "account": account.pk,
        "name": "from the admin",
        "scopes": ["files:read"],
        "on_behalf_of": "forbidden",
    }
    return client.post(ADD, form)


def page_of(key: ApiKey) -> str:
    return reverse("admin:accounts_apikey_change", args=[key.pk])


# Making one


def test_the_secret_of_a_new_key_is_shown_once(admin_client: Client, account: Account) -> None:
    made = make(admin_client, account)
    key = ApiKey.objects.get()
    assert made["Location"] == reverse("admin:accounts_apikey_secret", args=[key.pk])

    page = admin_client.get(made["Location"])
    again = admin_client.get(made["Location"])

    (secret,) = set(SECRET.findall(page.content.decode()))
    assert with_secret(secret).get(FILES).status_code == 200
    assert "no-store" in page["Cache-Control"]
    shown = again.content.decode() + admin_client.get(page_of(key)).content.decode()
    assert secret not in shown
    assert "shown once" in shown
    assert key.digest not in shown + page.content.decode()


def test_the_secret_lies_nowhere_readable_in_between(
    admin_client: Client, account: Account
) -> None:
    made = make(admin_client, account)

    kept = "".join(str(session.get_decoded()) for session in Session.objects.all())
    kept += str(made.cookies) + str(list(Act.objects.values()))
    assert ApiKey.objects.get().prefix not in kept
    assert not SECRET.search(kept)


def test_the_secret_is_shown_to_nobody_else(admin_client: Client, account: Account) -> None:
    made = make(admin_client, account)
    other = with_permissions("accounts.view_apikey", "accounts.add_apikey")
    viewer = with_permissions("accounts.view_apikey")

    assert not SECRET.search(other.get(made["Location"]).content.decode())
    assert viewer.get(made["Location"]).status_code == 403


def test_making_a_key_is_logged(admin_client: Client, account: Account) -> None:
    make(admin_client, account)

    act = Act.objects.get()
    assert (act.verb, act.affected.get().outcome) == ("add API key", "added")


def test_a_key_is_changed_without_a_new_secret(admin_client: Client, account: Account) -> None:
    secret = secret_of(account)
    key = ApiKey.objects.get()
    form = {"name": "renamed", "scopes": ["files:read"], "on_behalf_of": "allowed"}

    admin_client.post(page_of(key), form | {"_reason": "typo"})

    key.refresh_from_db()
    assert (key.name, key.on_behalf_of) == ("renamed", "allowed")
    assert with_secret(secret).get(FILES).status_code == 200
    act = Act.objects.get()
    assert (act.verb, act.reason) == ("change API key", "typo")


# Revoking one


def test_revoking_asks_first_and_then_ends_the_key(admin_client: Client, account: Account) -> None:
    secret = secret_of(account)
    key = ApiKey.objects.get()

    page = ask(admin_client, "revoke-api-keys", key)
    assert with_secret(secret).get(FILES).status_code == 200
    done = confirm(admin_client, page, reason="leaked")

    assert with_secret(secret).get(FILES).status_code == 401
    assert "1 API key revoked." in done.content.decode()
    act = Act.objects.get()
    assert (act.verb, act.reason, act.affected.get().label) == (
        "revoke API keys",
        "leaked",
        str(key),
    )


def test_a_key_is_revoked_once(admin_client: Client, account: Account) -> None:
    secret_of(account)
    key = ApiKey.objects.get()
    page = ask(admin_client, "revoke-api-keys", key)
    key.revoke()
    before = key.revoked_at

    confirm(admin_client, page)

    key.refresh_from_db()
    assert key.revoked_at == before
    assert Act.objects.get().affected.get().outcome == "refused: it was revoked already"


def test_the_question_says_whose_keys_and_which_are_in_use(
    admin_client: Client, account: Account
) -> None:
    with_secret(secret_of(account)).get(FILES)
    secret_of(AccountFactory(name="globex"))
    secret_of(account)
    keys = list(ApiKey.objects.order_by("pk"))
    keys[2].revoke()

    page = ask(admin_client, "revoke-api-keys", *keys)

    assert dict(page.context["sums"]) == {"used in the last 24 hours": 1}
    assert dict(page.context["owners"]) == {account.name: 1, "globex": 1}
    assert dict(page.context["skipped"]) == {"revoked already": 1}


def test_who_may_only_look_revokes_nothing(account: Account) -> None:
    secret = secret_of(account)

    ask(with_permissions("accounts.view_apikey"), "revoke-api-keys", ApiKey.objects.get())

    assert with_secret(secret).get(FILES).status_code == 200


def test_a_key_cannot_be_deleted(admin_client: Client, account: Account) -> None:
    secret_of(account)
    key = ApiKey.objects.get()

    response = admin_client.post(
        reverse("admin:accounts_apikey_delete", args=[key.pk]), {"post": "yes"}
    )

    assert response.status_code == 403


# Looking


@pytest.fixture
def keys(account: Account) -> dict[str, ApiKey]:
    """A key in each state, by its name."""
    suspended = AccountFactory(is_active=False)
    for name, owner in (
        ("live", account),
        ("expired", account),
        ("revoked", account),
        ("account suspended", suspended),
    ):
        ApiKey.objects.issue(owner, name)
    past = database_now() - datetime.timedelta(days=1)
    ApiKey.objects.filter(name="expired").update(expires_at=past)
    ApiKey.objects.filter(name="revoked").update(revoked_at=past)
    return {key.name: key for key in ApiKey.objects.all()}


def test_each_state_has_its_badge(admin_client: Client, keys: dict[str, ApiKey]) -> None:
    for state, key in keys.items():
        told = admin_client.get(page_of(key)).content.decode()
        assert re.search(rf'class="badge \w+" title="">{state}<', told), state


@pytest.mark.parametrize("state", ["live", "expired", "revoked"])
def test_each_state_has_its_tab(state: str, admin_client: Client, keys: dict[str, ApiKey]) -> None:
    page = admin_client.get(LIST, {"state": state})

    assert [key.name for key in page.context["cl"].result_list] == [state]


@pytest.mark.parametrize("query", ["q=live", "q={prefix}", "q=account", "account={account}"])
def test_a_key_is_found(query: str, admin_client: Client, keys: dict[str, ApiKey]) -> None:
    key = keys["live"]

    page = admin_client.get(f"{LIST}?" + query.format(prefix=key.prefix, account=key.account.name))

    assert key in page.context["cl"].result_list


def test_accounts_whose_keys_were_not_looked_for_are_said(
    admin_client: Client, keys: dict[str, ApiKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = "of accounts whose names begin so only the first 1; there are more"
    assert "there are more" not in admin_client.get(LIST, {"q": "account"}).content.decode()
    monkeypatch.setattr("accounts.admin.MOST_OWNERS", 1)
    monkeypatch.setattr("accounts.pages.MOST_OWNERS", 1)

    assert cut in admin_client.get(LIST, {"q": "account"}).content.decode()


def test_accounts_are_suspended_and_reinstated(admin_client: Client, account: Account) -> None:
    secret = secret_of(account)

    confirm(admin_client, ask(admin_client, "suspend-accounts", account))
    assert with_secret(secret).get(FILES).status_code == 401

    confirm(admin_client, ask(admin_client, "reinstate-accounts", account))
    assert with_secret(secret).get(FILES).status_code == 200
    assert [act.verb for act in Act.objects.order_by("pk")] == [
        "suspend accounts",
        "reinstate accounts",
    ]


def test_an_account_is_never_deleted(admin_client: Client, account: Account) -> None:
    url = reverse("admin:accounts_account_delete", args=[account.pk])

    assert admin_client.post(url, {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("model", ["account", "apikey", "externaluser"])
def test_every_page_opens(model: str, admin_client: Client, account: Account) -> None:
    secret_of(account)
    ExternalUser.objects.create(account=account, external_id="<script>alert(1)</script>\u202e")
    row = {"account": Account, "apikey": ApiKey, "externaluser": ExternalUser}[model].objects.get()

    listed = admin_client.get(reverse(f"admin:accounts_{model}_changelist"))
    searched = admin_client.get(reverse(f"admin:accounts_{model}_changelist") + "?q=x")
    detail = admin_client.get(reverse(f"admin:accounts_{model}_change", args=[row.pk]))

    assert (listed.status_code, searched.status_code, detail.status_code) == (200, 200, 200)
    assert b"<script>alert(1)" not in listed.content + detail.content


def test_external_users_are_read_only(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:accounts_externaluser_add")).status_code == 403
