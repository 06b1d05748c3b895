"""Every address of the console for every role: what opens, what is refused, and that no viewer reads content."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import NoReverseMatch, URLPattern, URLResolver, reverse

from accounts.models import Account, Owner
from batches.models import Batch, Shard
from config.roles import ROLES
from console.parts import page_of
from files.models import File
from tests.batches.factories import request_line, run, start
from tests.console.operators import in_role, logged_in
from tests.console.world import first_of, populate

pytestmark = pytest.mark.django_db
OPEN = {200, 302}
SECRET = "the-prompt-that-nobody-shall-read"
BY_NAME = {  # what its permission is, where the name of the address does not tell
    "batches_upstream_test": "batches.test_upstream",
    "accounts_apikey_secret": "accounts.add_apikey",
    "auth_user_password_change": "auth.change_user",
    "files_file_content": "batches.view_content",
}


def names(patterns: Any = None) -> Iterator[str]:
    for pattern in admin.site.urls[0] if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from names(pattern.url_patterns)
        elif isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name


def page_for(name: str) -> tuple[Any, Any]:
    """Return the model and page that an address belongs to, or nothing."""
    for model, page in admin.site._registry.items():
        if name.startswith(f"{model._meta.app_label}_{model._meta.model_name}_"):
            return model, page
    return None, None


def plain() -> Iterator[tuple[str, str, str]]:
    """Yield (address, permission to look, kind) of each list, page, add, delete and log."""
    for model, page in admin.site._registry.items():
        label, kind = model._meta.app_label, model._meta.model_name
        row = page_of(first_of(model))
        base = f"admin:{label}_{kind}"
        yield reverse(f"{base}_changelist"), f"{label}.view_{kind}", "look"
        yield reverse(f"{base}_live"), f"{label}.view_{kind}", "look"
        yield row, f"{label}.view_{kind}", "look"
        yield row.replace("/change/", "/history/"), "console.view_act", "look"
        for act in ("add", "delete"):
            permission = f"{label}.{act}_{kind}" if act in page.grants else ""
            address = (
                reverse(f"{base}_add") if act == "add" else row.replace("/change/", "/delete/")
            )
            yield address, permission, "form"
        for verb in page.verbs:
            yield row.replace("/change/", f"/do/{verb.slug}/"), verb.permission, "verb"


@pytest.mark.parametrize("role", sorted(ROLES))
def test_what_a_role_may_open_and_send(role: str) -> None:
    populate()
    client = logged_in(in_role(role))
    wrong = {}
    for address, permission, kind in plain():
        may = permission in ROLES[role]
        if (client.get(address).status_code in OPEN) != may:
            wrong[f"GET {address}"] = (permission, may)
        # A form or question without an answer changes nothing; whoever may not send it is refused all the same.
        if kind != "look" and not may and client.post(address, {}).status_code != 403:
            wrong[f"POST {address}"] = permission

    assert wrong == {}


def test_strangers_are_sent_to_the_login_from_everywhere(client: Client) -> None:
    populate()

    for address, _, _ in plain():
        for answer in (client.get(address), client.post(address, {})):
            assert answer.status_code == 302, address
            assert answer["Location"].startswith(reverse("admin:login")), address


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_may_not_read_content_finds_none_on_any_page(role: str, account: Account) -> None:
    line = request_line("a", f'{{"model": "m", "messages": ["{SECRET}"]}}')
    batch = run(start(Owner(account), line + request_line("b")), failing=("b",))
    client = logged_in(in_role(role))
    Shard.objects.update(state=Shard.State.WAITING)
    file = File.objects.get(pk=batch.input_file_id)

    pages = [address for address, _, _ in _addresses_of(batch, file)]
    found = [address for address in pages if SECRET in _text(client.get(address))]

    assert len(pages) > 6
    assert found == []
    content = client.get(reverse("admin:files_file_content", args=[file.pk]))
    assert content.status_code == 403


def _addresses_of(batch: Batch, file: File) -> Iterator[tuple[str, str, str]]:
    yield reverse("admin:index"), "", ""
    for row in (batch, file, batch.account):
        yield page_of(row), "", ""
        yield page_of(row).replace("/change/", "/history/"), "", ""
    for name in sorted(set(names())):
        if name.startswith("batches_batch_"):
            for arguments in ([batch.pk], [batch.pk, "0-0"], [batch.pk, 0, 0], [batch.pk, "0.0"]):
                try:
                    yield reverse(f"admin:{name}", args=arguments), "", ""
                except NoReverseMatch:
                    continue


def _text(answer: Any) -> str:
    return (answer.getvalue() if answer.streaming else answer.content).decode("utf-8", "replace")


def test_special_addresses_ask_for_their_own_permission() -> None:
    populate()
    for role, may in ROLES.items():
        client = logged_in(in_role(role))
        for name, permission in BY_NAME.items():
            model, _ = page_for(name)
            address = reverse(f"admin:{name}", args=[quote(first_of(model).pk)])
            if name.endswith("_test"):
                if permission not in may:
                    assert client.post(address).status_code == 403, (role, name)
                continue
            answer = client.get(address)
            assert (answer.status_code in OPEN) == (permission in may), (role, name)
            _text(answer)


def test_no_address_is_left_out_of_these_tests() -> None:
    known = ("_changelist", "_live", "_change", "_history", "_add", "_delete", "_do")
    others = {name for name in names() if page_for(name)[1] and not name.endswith(known)}

    others = {name for name in others if not name.startswith("batches_batch_")}
    assert others == {name for name in BY_NAME if not name.endswith(known)}
