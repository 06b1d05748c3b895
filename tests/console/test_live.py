"""What a page says has changed is what it would write if it were loaded again."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from batches.models import Batch, Status
from console import live
from console.charts import Progress
from console.parts import badge, progress_cell
from tests.batches.factories import reach, start, submit
from tests.console.operators import list_of, with_permissions

LIVE = reverse("admin:batches_batch_live")


def keys(html: str) -> set[str]:
    return set(re.findall(r'data-live="([^"]+)"', html))


def test_every_part_of_a_progress_is_followed() -> None:
    cell = progress_cell(Progress(1, 1, 4), live="row")

    assert keys(cell) == {f"row.{key}" for key in live.progress(Progress(1, 1, 4))}


def test_a_part_that_follows_nothing_has_no_key() -> None:
    assert keys(progress_cell(Progress(1, 1, 4)) + badge("x")) == set()


@pytest.mark.django_db
def test_the_changes_of_a_list_fit_its_parts(account: Account) -> None:
    viewer = with_permissions("batches.view_batch")
    batches = [start(account, 3), reach(submit(account, b"{}\n"), Status.FAILED)]

    listed = viewer.get(list_of(Batch)).content.decode()
    answer = viewer.get(LIVE, {"row": [batch.pk for batch in batches]}).json()

    assert f'data-live-url="{LIVE}"' in listed
    assert keys(listed) == set(answer)
    first = batches[0].pk
    assert answer[f"{first}.state"]["text"] == "queued"
    assert answer[f"{first}.rest"]["text"] == "of 3 · 0 %"


@pytest.mark.django_db
def test_only_what_is_asked_for_is_told(account: Account) -> None:
    batch, _ = start(account, 1), start(account, 1)

    answer = with_permissions("batches.view_batch").get(LIVE, {"row": [batch.pk, "nobody"]}).json()

    assert {key.partition(".")[0] for key in answer} == {batch.pk}


@pytest.mark.django_db
def test_who_may_not_see_the_list_is_told_nothing(account: Account, client: Client) -> None:
    assert with_permissions("files.view_file").get(LIVE).status_code == 403
    assert client.get(LIVE).status_code == 302


@pytest.mark.django_db
def test_a_list_that_is_not_live_asks_for_nothing(admin_client: Client) -> None:
    listed = admin_client.get(reverse("admin:files_file_changelist")).content.decode()

    assert "live.js" not in listed
    assert "data-live-url" not in listed
