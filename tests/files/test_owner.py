"""Nobody learns of a file that is not theirs, on any route."""

import pytest
from django.test import Client

from accounts.models import Account, ExternalUser, Owner
from tests.factories import FILES, FileFactory

ROUTES = [("get", ""), ("get", "/content"), ("head", ""), ("delete", "")]
USER = {"X-On-Behalf-Of": "user-1"}


@pytest.mark.parametrize(("method", "suffix"), ROUTES)
@pytest.mark.parametrize("belongs_to", ["another account", "an external user", "the account"])
def test_a_foreign_file_is_like_one_that_never_was(
    method: str, suffix: str, belongs_to: str, behalf: Client, account: Account, stranger: Client
) -> None:
    user = ExternalUser.objects.create(account=account, external_id="user-2")
    owner = Owner(account, user if belongs_to == "an external user" else None)
    file_id = FileFactory(owner).pk
    client = stranger if belongs_to == "another account" else behalf
    headers = USER if belongs_to == "the account" else {}
    unknown = "file-" + "0" * 32

    foreign = getattr(client, method)(f"{FILES}/{file_id}{suffix}", headers=headers)
    never = getattr(client, method)(f"{FILES}/{unknown}{suffix}", headers=headers)

    assert foreign.status_code == never.status_code == 404
    assert foreign.content == never.content.replace(unknown.encode(), file_id.encode())
    assert foreign.headers.keys() == never.headers.keys()


def test_each_owner_lists_their_own(behalf: Client, account: Account) -> None:
    one = ExternalUser.objects.create(account=account, external_id="user-1")
    own, ones = FileFactory(account).pk, FileFactory(Owner(account, one)).pk

    def listed(**headers: str) -> list[str]:
        return [file["id"] for file in behalf.get(FILES, headers=headers).json()["data"]]

    assert listed() == [own]
    assert listed(**USER) == [ones]
    assert listed(**{"X-On-Behalf-Of": "user-2"}) == []


def test_two_accounts_with_the_same_external_id_do_not_meet(
    behalf: Client, account: Account
) -> None:
    from accounts.models import ApiKey
    from tests.factories import AccountFactory, client_of

    other = client_of(AccountFactory(), on_behalf_of=ApiKey.OnBehalfOf.ALLOWED)
    user = ExternalUser.objects.create(account=account, external_id="user-1")
    file_id = FileFactory(Owner(account, user)).pk

    assert behalf.get(f"{FILES}/{file_id}", headers=USER).status_code == 200
    assert other.get(f"{FILES}/{file_id}", headers=USER).status_code == 404
