"""manage.py create_api_key: an account's key, from the command line."""

import datetime
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from accounts.models import SCOPES, Account, ApiKey
from api.clock import database_now
from api.commands import ServiceCommand


class Command(ServiceCommand):
    help = "Make an API key and print its secret, which cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", required=True, help="made if there is none of this name")
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument("--scopes", default=",".join(SCOPES), help="default: %(default)s")
        parser.add_argument(
            "--on-behalf-of",
            choices=ApiKey.OnBehalfOf.values,
            default=ApiKey.OnBehalfOf.FORBIDDEN,
            help="whether requests name an external user in X-On-Behalf-Of; default: %(default)s",
        )
        parser.add_argument("--expires-in-days", type=int, metavar="N", help="default: never")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        scopes = _scopes(options["scopes"])
        expires_at = _expires_at(options["expires_in_days"])
        with transaction.atomic():
            account, _ = Account.objects.get_or_create(name=options["account"])
            key, secret = ApiKey.objects.issue(
                account,
                options["name"],
                scopes=scopes,
                on_behalf_of=options["on_behalf_of"],
                expires_at=expires_at,
            )
        if options["json"]:
            shown = {"id": key.pk, "prefix": key.prefix, "secret": secret, "account": account.name}
            self.stdout.write(json.dumps(shown))
        else:
            self.stdout.write(f"API key of {account.name}, shown only this once:\n{secret}")


def _scopes(text: str) -> list[str]:
    scopes = [scope.strip() for scope in text.split(",")]
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise CommandError(f"Unknown scopes: {', '.join(unknown)}. Known: {', '.join(SCOPES)}.")
    return scopes


def _expires_at(days: int | None) -> datetime.datetime | None:
    if days is None:
        return None
    if not 1 <= days <= 36_500:
        raise CommandError("--expires-in-days must be from 1 to 36500.")
    return database_now() + datetime.timedelta(days=days)
