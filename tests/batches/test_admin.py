"""The operators' pages: each opens, shows no secret, and acts only through the domain."""

import datetime
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client
from django.urls import reverse

from accounts.models import Account, Owner
from api.clock import database_now
from batches import lifecycle
from batches.models import (
    TERMINAL,
    Batch,
    BatchMinute,
    Engine,
    Host,
    OwnerHour,
    Pace,
    Segment,
    Shard,
    Share,
    Status,
    TrafficSlice,
    Upstream,
)
from files.content import save_blob, store
from tests.batches.factories import reach, start, submit
from tests.console.operators import list_of
from tests.factories import FileFactory, secret_of

OURS = [
    model
    for app in ("accounts", "files", "batches")
    for model in apps.get_app_config(app).get_models()
    if model._meta.default_permissions  # others nobody looks at
]
SECRET = "upstream-secret-canary"


@pytest.fixture
def batch(account: Account) -> Batch:
    file = FileFactory(account)
    return lifecycle.submit(
        Owner(account),
        "lsk_test",
        input_file_id=file.pk,
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )


@pytest.fixture
def rows(batch: Batch, account: Account) -> None:
    """One row of every model."""
    now = database_now()
    soon = now + datetime.timedelta(minutes=1)
    secret_of(account)
    Owner(account, account.external_users.create(external_id="user-1"))
    upstream = Upstream.objects.create(name="u", base_url="http://127.0.0.1:1/v1", api_key=SECRET)
    engine = Engine.objects.create(id="e", host="h", pid=1, started_at=now, lease_expires_at=soon)
    Host.objects.create(
        id="h", name="h", pid=1, version="1", slots=1, started_at=now, lease_expires_at=soon
    )
    Share.objects.create(engine=engine, upstream=upstream, wanted=1, slots=1)
    Pace.objects.create(upstream=upstream, model="m", calls=1, found_at=now)
    shard = Shard.objects.create(batch=batch, number=0, first_line=1, lines=1, start=0, end=10)
    blob = save_blob(store(b"x"))
    Segment.objects.create(
        shard=shard, blob=blob, attempt=1, output_bytes=1, error_bytes=0, completed=1, failed=0
    )
    BatchMinute.objects.create(batch=batch, minute=now)
    TrafficSlice.objects.create(upstream=upstream, model="m", start=now)
    OwnerHour.objects.create(owner="1:", account=account, hour=now)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_model_is_registered_unless_it_is_shown_inside_another(model: Any) -> None:
    inline = {inline.model for page in admin.site._registry.values() for inline in page.inlines}

    assert admin.site.is_registered(model) or model in inline


@pytest.mark.parametrize(
    "model", [m for m in OURS if admin.site.is_registered(m)], ids=lambda m: m.__name__
)
def test_every_page_opens_and_shows_no_secret(model: Any, rows: None, admin_client: Client) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    row = model.objects.first()

    pages = [
        admin_client.get(reverse(f"{name}_changelist")),
        admin_client.get(reverse(f"{name}_changelist"), {"q": "x"}),
        admin_client.get(reverse(f"{name}_change", args=[quote(row.pk)])),
    ]

    assert [page.status_code for page in pages] == [200, 200, 200]
    assert not any(SECRET in page.content.decode() for page in pages)


def test_a_batch_of_which_nothing_is_done_is_called_queued(
    account: Account, admin_client: Client
) -> None:
    batch = start(account, 2)
    assert ">queued<" in admin_client.get(list_of(Batch)).content.decode()

    Batch.objects.filter(pk=batch.pk).update(completed=1)

    assert ">in progress<" in admin_client.get(list_of(Batch)).content.decode()


@pytest.mark.parametrize("state", ["active", *(status.value for status in TERMINAL)])
def test_the_tabs_part_the_batches(state: str, account: Account, admin_client: Client) -> None:
    statuses = [Status.VALIDATING, Status.IN_PROGRESS, *TERMINAL]
    for status in statuses:
        reach(submit(account, b"{}\n"), status)

    rows = admin_client.get(list_of(Batch), {"state": state}).context["cl"].result_list

    active = {Status.VALIDATING, Status.IN_PROGRESS}
    assert {row.status for row in rows} == (active if state == "active" else {state})


def test_an_upstreams_key_goes_in_and_an_empty_field_keeps_it(
    rows: None, admin_client: Client
) -> None:
    upstream = Upstream.objects.get()
    url = reverse("admin:batches_upstream_change", args=[upstream.pk])
    form = {"name": "u", "base_url": "http://127.0.0.1:2/v1", "timeout_seconds": 5}
    form |= {"_reason": "moved"}

    admin_client.post(url, form | {"served_models": "m", "api_key": ""})

    upstream.refresh_from_db()
    assert (upstream.base_url, upstream.served_models) == ("http://127.0.0.1:2/v1", ["m"])
    assert upstream.api_key == SECRET
