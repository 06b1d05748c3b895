import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account, ApiKey, ExternalUser
from tests.factories import FILES, secret_of, with_secret

LIST = reverse("admin:accounts_apikey_changelist")
ADD = reverse("admin:accounts_apikey_add")


def test_the_secret_of_a_new_key_is_shown_once(admin_client: Client, account: Account) -> None:
    form = {
        "account": account.pk,
        "name": "from the admin",
        "scopes": ["files:read"],
        "on_behalf_of": "forbidden",
    }

    page = admin_client.post(ADD, form, follow=True).content.decode()

    (secret,) = set(re.findall(r"lsk_[0-9a-f]{12}_[\w-]{43}", page))
    assert with_secret(secret).get(FILES).status_code == 200
    key = ApiKey.objects.get()
    again = admin_client.get(reverse("admin:accounts_apikey_change", args=[key.pk]))
    assert secret not in again.content.decode()
    assert key.digest not in again.content.decode() + page


def test_a_key_is_changed_without_a_new_secret(admin_client: Client, account: Account) -> None:
    secret = secret_of(account)
    key = ApiKey.objects.get()
    form = {"name": "renamed", "scopes": ["files:read"], "on_behalf_of": "allowed"}

    admin_client.post(reverse("admin:accounts_apikey_change", args=[key.pk]), form)

    key.refresh_from_db()
    assert (key.name, key.on_behalf_of) == ("renamed", "allowed")
    assert with_secret(secret).get(FILES).status_code == 200


def test_revoking_ends_a_key(admin_client: Client, account: Account) -> None:
    secret = secret_of(account)
    key = ApiKey.objects.get()

    admin_client.post(LIST, {"action": "revoke", "_selected_action": [key.pk]}, follow=True)

    assert with_secret(secret).get(FILES).status_code == 401


def test_a_key_cannot_be_deleted(admin_client: Client, account: Account) -> None:
    secret_of(account)
    key = ApiKey.objects.get()

    response = admin_client.post(
        reverse("admin:accounts_apikey_delete", args=[key.pk]), {"post": "yes"}
    )

    assert response.status_code == 403


@pytest.mark.parametrize("model", ["account", "apikey", "externaluser"])
def test_every_page_opens(model: str, admin_client: Client, account: Account) -> None:
    secret_of(account)
    ExternalUser.objects.create(account=account, external_id="<script>alert(1)</script>")
    row = {"account": Account, "apikey": ApiKey, "externaluser": ExternalUser}[model].objects.get()

    listed = admin_client.get(reverse(f"admin:accounts_{model}_changelist") + "?q=x")
    detail = admin_client.get(reverse(f"admin:accounts_{model}_change", args=[row.pk]))

    assert (listed.status_code, detail.status_code) == (200, 200)
    assert b"<script>alert(1)" not in listed.content + detail.content


def test_external_users_are_read_only(admin_client: Client) -> None:
    assert admin_client.get(reverse("admin:accounts_externaluser_add")).status_code == 403
