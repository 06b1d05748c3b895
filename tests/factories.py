"""Rows for tests, with sensible values for whatever a test does not care about."""

import itertools
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import SCOPES, Account, ApiKey, Owner
from files.content import save_blob, save_file, store
from files.models import File, Purpose

LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
FILES = "/v1/files"
_numbers = itertools.count(1)


def AccountFactory(**fields: Any) -> Account:  # noqa: N802 - reads as the class it stands for
    return Account.objects.create(**{"name": f"account {next(_numbers)}"} | fields)


def secret_of(account: Account, **options: Any) -> str:
    """Issue a key and return its secret."""
    options = {"name": "test", "scopes": list(SCOPES)} | options
    return ApiKey.objects.issue(account, **options)[1]


def client_of(account: Account, **options: Any) -> Client:
    """Return a client that sends a key of this account and shows a bug as the 500 it is."""
    return with_secret(secret_of(account, **options))


def with_secret(secret: str) -> Client:
    return Client(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})


def FileFactory(owner: Account | Owner, *contents: bytes, **fields: Any) -> File:  # noqa: N802
    """Make a file of one part for each of `contents`, by default of one request line."""
    owner = owner if isinstance(owner, Owner) else Owner(owner)
    fields = {"filename": "in.jsonl", "purpose": Purpose.BATCH} | fields
    file = File(account=owner.account, external_user=owner.external_user, **fields)
    return save_file(file, [save_blob(store(content)) for content in contents or (LINE,)])


def upload(client: Client, content: bytes = LINE, name: str = "in.jsonl", **fields: Any) -> Any:
    """Upload a file and return the answer. `headers` go to the request, other fields to the form."""
    headers = fields.pop("headers", {})
    form = {"purpose": "batch"} | fields | {"file": SimpleUploadedFile(name, content)}
    form = {name: value for name, value in form.items() if value is not None}
    return client.post(FILES, form, headers=headers)


def error_of(response: Any) -> dict[str, Any]:
    """Return the error of an answer, after checking that it is the one envelope."""
    assert response["Content-Type"] == "application/json", response
    assert response["X-Request-ID"].startswith("req_")
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    return body["error"]
