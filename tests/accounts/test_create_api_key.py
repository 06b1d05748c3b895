import datetime
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import SCOPES, Account, ApiKey
from api.clock import database_now
from tests.factories import FILES, with_secret

pytestmark = pytest.mark.django_db


def create(*options: str) -> dict[str, Any]:
    out = StringIO()
    call_command(
        "create_api_key", "--account", "demo", "--name", "n", "--json", *options, stdout=out
    )
    return json.loads(out.getvalue())


def test_the_printed_secret_works_and_is_kept_nowhere() -> None:
    made = create()

    key = ApiKey.objects.get(pk=made["id"])
    assert with_secret(made["secret"]).get(FILES).status_code == 200
    assert made["account"] == "demo"
    assert made["prefix"] == key.prefix
    assert made["secret"].startswith(key.prefix)
    assert made["secret"] not in str(vars(key))


def test_a_person_reads_the_secret_on_a_line_of_its_own() -> None:
    out = StringIO()

    call_command("create_api_key", "--account", "demo", "--name", "n", stdout=out)

    assert with_secret(out.getvalue().splitlines()[-1]).get(FILES).status_code == 200


def test_the_second_key_belongs_to_the_same_account() -> None:
    create()
    create()

    assert Account.objects.get().api_keys.count() == 2


def test_the_options_are_kept() -> None:
    create("--scopes", "files:read, batches:read", "--on-behalf-of", "required")
    create("--expires-in-days", "7")

    first, second = ApiKey.objects.order_by("pk")
    assert first.scopes == ["files:read", "batches:read"]
    assert first.on_behalf_of == "required"
    assert second.scopes == list(SCOPES)
    assert second.expires_at is not None
    assert second.expires_at - database_now() < datetime.timedelta(days=7)


@pytest.mark.parametrize(
    "options",
    [["--scopes", "files:read,everything"], ["--scopes", ""], ["--expires-in-days", "0"]],
)
def test_a_wrong_option_is_refused_and_makes_nothing(options: list[str]) -> None:
    with pytest.raises(CommandError):
        create(*options)

    assert not Account.objects.exists()
