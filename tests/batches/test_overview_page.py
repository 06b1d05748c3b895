"""The overview as operators see it: every number leads to its rows, few queries, and a way to begin."""

import datetime
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from accounts.models import Account, Owner
from api.clock import database_now
from batches import lifecycle, overview, traffic
from batches.admin.graphs import latencies
from batches.models import Batch, BatchMinute, Host
from batches.models.traffic import COUNTS
from batches.traffic import Point
from console.parts import page_of
from tests.batches.factories import make_host, make_upstream, run, start, submit
from tests.batches.test_overview import LATER
from tests.console.operators import in_role, logged_in, with_permissions
from tests.console.world import populate
from tests.factories import AccountFactory, secret_of

pytestmark = pytest.mark.django_db
INDEX = reverse("admin:index")


def panels_of(client: Client) -> str:
    page = client.get(INDEX).content.decode()
    return page[page.index('id="panels"') : page.index("</main>")]


def test_every_number_is_a_link_that_leads_to_rows(admin_client: Client) -> None:
    populate()
    panels = panels_of(admin_client)
    links = {unescape(url) for url in re.findall(r'<a (?:class="[^"]*" )?href="([^"]+)"', panels)}

    assert len(links) > 30
    for url in links:
        page = admin_client.get(url)
        assert page.status_code == 200, url
        if "cl" in page.context:
            assert page.context["cl"].result_count, url


def test_the_numbers_are_those_of_the_rows(admin_client: Client, account: Account) -> None:
    user = account.external_users.create(external_id="u-1")
    run(start(Owner(account, user), 6), failing=("0", "1"))
    start(AccountFactory(name="acme"), 3)
    traffic.roll_up(database_now() + LATER)

    panels = panels_of(admin_client)

    (failed,) = re.findall(r'class="figure bad"><strong><a href="([^"]+)"', panels)
    assert _sum_of(admin_client, failed) == 2
    assert "Busiest" in panels
    (failed,) = re.findall(
        r'data-label="Failed" class="number"><a href="([^"]*hour[^"]*)">2<', panels
    )
    assert _sum_of(admin_client, failed) == 2
    figures = re.findall(r"<strong><a [^>]*>([^<]+)<", panels)
    assert figures[:4] == ["2", "4", "2", "0.0"]
    assert "33 %" in panels
    assert f'href="{reverse("admin:accounts_externaluser_change", args=[user.pk])}"' in panels


def _sum_of(client: Client, url: str) -> int:
    """How many lines failed by the rows of a list."""
    rows = client.get(unescape(url)).context["cl"].result_list
    assert rows
    assert all(row.failed for row in rows)
    return sum(row.failed for row in rows)


def test_more_than_are_shown_are_those_that_run(
    admin_client: Client, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "SHOWN", 1)
    running = {start(account, 1).pk for _ in range(2)}
    lifecycle.pause(start(account, 1), actor="me")
    submit(account, b"{}\n")

    (url,) = re.findall(r'<a href="([^"]+)">and 1 more that run', panels_of(admin_client))

    rows = admin_client.get(unescape(url)).context["cl"].result_list
    assert {row.pk for row in rows} == running


def test_how_long_it_takes_is_told_from_the_pace_of_the_last_minutes(
    admin_client: Client, account: Account
) -> None:
    batch = start(account, 3)
    left = 'data-label="Time left" class="number figures">'
    assert f'{left}<span class="quiet">\u2013<' in panels_of(admin_client)

    minute = database_now().replace(second=0, microsecond=0)
    BatchMinute.objects.create(batch=batch, minute=minute, completed=1)

    assert f'{left}<a href="{page_of(batch)}">' in panels_of(admin_client)


def test_a_label_at_the_end_of_the_latencies_does_not_stand_out_of_the_chart() -> None:
    noon = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
    times = [noon - number * overview.SLICE for number in range(145)][::-1]

    chart = latencies([Point.of(at, dict.fromkeys(COUNTS, 0)) for at in times])

    assert list(filter(None, chart.labels)) == [
        "12:00",
        "16:00",
        "20:00",
        "00:00",
        "04:00",
        "08:00",
    ]


@pytest.mark.parametrize("is_new", [True, False])
def test_it_takes_at_most_ten_queries(is_new: bool, django_assert_max_num_queries: Any) -> None:
    if is_new:
        viewer = logged_in(in_role("viewer"))
    else:
        populate()
        viewer = logged_in(User.objects.get(username__startswith="viewer"))
    with django_assert_max_num_queries(10):
        assert viewer.get(INDEX).status_code == 200


def test_a_new_installation_shows_how_to_begin(admin_client: Client, account: Account) -> None:
    panels = panels_of(admin_client)
    assert "Three steps to the first batch" in panels
    assert "simulate_upstream" in panels
    assert "Lines per hour" not in panels
    assert 'class="done"' not in panels

    make_upstream()
    make_host()
    secret_of(account)
    panels = panels_of(admin_client)
    assert panels.count('class="done"') == 2
    assert "runworker" not in panels

    submit(account, b"{}\n")
    panels = panels_of(admin_client)
    assert "Three steps" not in panels
    assert "Lines per hour" in panels


def test_who_may_look_at_one_thing_sees_only_that(account: Account) -> None:
    start(account, 1)
    Host.objects.all().delete()

    page = with_permissions("batches.view_host").get(INDEX)

    assert [panel.title for panel in page.context["panels"]] == ["Workers"]


def test_what_hurts_is_told_with_what_to_do(admin_client: Client, account: Account) -> None:
    start(account, 1)
    panels = panels_of(admin_client)

    assert "No worker is running, and 1 batch waits." in panels
    assert 'data-copy="./run manage runworker"' in panels


def test_to_redraw_a_page_eats_no_message(admin_client: Client, account: Account) -> None:
    start(account, 1)
    key = Batch.objects.get()
    url = page_of(key).replace("/change/", "/do/cancel-batches/")
    form = {"reason": "because", "token": "t" * 20}
    admin_client.post(url, form)

    redrawn = admin_client.get(INDEX, headers={"x-requested-with": "redraw"})
    page = admin_client.get(INDEX)

    assert '<ul class="messages"' not in redrawn.content.decode()
    assert '<ul class="messages"' in page.content.decode()
