"""An upstream's page: its state and day, a key that never comes out, a test with real calls, a correction that resumes."""

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from api.clock import database_now
from batches.executor.retry import KEY_REFUSED
from batches.models import Batch, TrafficSlice, Upstream
from console.models import Act
from console.parts import page_of
from tests.batches.factories import HOUR, make_upstream, start
from tests.console.operators import in_role, list_of, logged_in, with_permissions
from tests.console.world import populate
from tests.support.simulator import simulating

pytestmark = pytest.mark.django_db
KEY = "sk-a-very-secret-canary-9876"
SEE, TEST = "batches.view_upstream", "batches.test_upstream"


def save(client: Client, upstream: Upstream, **changes: Any) -> Any:
    form = {
        "name": upstream.name,
        "base_url": upstream.base_url,
        "api_key": "",
        "served_models": "\n".join(upstream.served_models),
        "timeout_seconds": upstream.timeout_seconds,
        "_reason": "because",
    }
    return client.post(page_of(upstream), form | changes, follow=True)


def try_out(client: Client, upstream: Upstream) -> Any:
    return client.post(reverse("admin:batches_upstream_test", args=[upstream.pk]))


# The key


@pytest.mark.parametrize("role", ["viewer", "operator", "auditor", "admin"])
def test_no_role_sees_the_key(role: str) -> None:
    upstream = make_upstream(api_key=KEY)
    client = logged_in(in_role(role))

    pages = [client.get(page_of(upstream)), client.get(list_of(Upstream))]

    shown = "".join(page.content.decode() for page in pages)
    assert [page.status_code for page in pages] == [200, 200]
    assert KEY not in shown
    assert "set; ends in 9876" in shown


def test_of_a_short_key_nothing_is_told() -> None:
    upstream = make_upstream(api_key="short-wxyz")

    page = logged_in(in_role("admin")).get(page_of(upstream)).content.decode()

    assert "Now: set." in page
    assert "wxyz" not in page


# The form


def test_models_are_typed_one_a_line(admin_client: Client) -> None:
    upstream = make_upstream(served_models=["a"])
    assert ">\na</textarea>" in admin_client.get(page_of(upstream)).content.decode()

    save(admin_client, upstream, served_models="b \n\n c\nb")

    upstream.refresh_from_db()
    assert upstream.served_models == ["b", "c"]


def test_models_that_stay_are_no_change_whatever_ends_their_lines(admin_client: Client) -> None:
    upstream = make_upstream(served_models=["a", "b"])

    save(admin_client, upstream, served_models="a\r\nb", timeout_seconds=7)

    assert Act.objects.get().affected.get().outcome == "changed: Timeout seconds"


@pytest.mark.parametrize("change", [{"api_key": "other"}, {"base_url": "http://127.0.0.1:8/v1"}])
def test_to_correct_a_refused_key_resumes(change: dict[str, str], admin_client: Client) -> None:
    upstream = make_upstream(api_key=KEY)
    upstream.pause(f"{KEY_REFUSED} (HTTP 401).")

    page = save(admin_client, upstream, **change)

    upstream.refresh_from_db()
    assert (upstream.paused_at, upstream.pause_reason) == (None, "")
    assert "corrected: resumed." in page.content.decode()
    verbs = dict(Act.objects.values_list("verb", "reason"))
    assert verbs.keys() == {"resume upstreams", "change upstream"}
    assert verbs["resume upstreams"] == "its key or its address was corrected"


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("operator anna: costs", {"api_key": "other"}),
        (f"operator anna: {KEY_REFUSED}", {"api_key": "other"}),
        (f"{KEY_REFUSED} (HTTP 401).", {"timeout_seconds": 7}),
    ],
)
def test_any_other_pause_stays(reason: str, change: dict[str, Any], admin_client: Client) -> None:
    upstream = make_upstream(api_key=KEY)
    upstream.pause(reason)

    save(admin_client, upstream, **change)

    upstream.refresh_from_db()
    assert upstream.pause_reason == reason


# The test


def test_a_test_makes_real_calls_and_shows_what_came() -> None:
    operator = with_permissions(SEE, TEST)
    with simulating(models=["tiny"]) as url:
        page = try_out(operator, make_upstream(base_url=url))

    listed, asked = page.context["tries"]
    assert (listed.asked, listed.status, listed.is_good) == ("GET models", 200, True)
    assert (asked.asked, asked.status, asked.is_good) == ("a request to tiny", 200, True)
    assert "simulated" in page.content.decode()
    act = Act.objects.get()
    assert (act.verb, act.total) == ("test upstreams", 1)
    assert act.affected.get().outcome.startswith("GET models: HTTP 200 in ")


@pytest.mark.parametrize("transport", ["http", "aiohttp"])
def test_an_upstream_that_is_not_there_is_told(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "TRANSPORT", transport)

    page = try_out(with_permissions(SEE, TEST), make_upstream(served_models=["m"]))

    assert [one.status for one in page.context["tries"]] == [None, None]
    assert "unreachable" in page.content.decode()
    assert "no answer" in Act.objects.get().affected.get().outcome


def test_without_a_model_no_request_is_made() -> None:
    page = try_out(with_permissions(SEE, TEST), make_upstream())

    assert "no model is named here or by the upstream" in page.content.decode()


@pytest.mark.parametrize("permissions", [[SEE], [TEST], ["batches.change_upstream"]])
def test_who_may_not_test_does_not(permissions: list[str]) -> None:
    upstream = make_upstream()
    client = with_permissions(*permissions)

    assert try_out(client, upstream).status_code == 403
    assert not Act.objects.exists()
    assert client.get(reverse("admin:batches_upstream_test", args=[upstream.pk])).status_code == 405


# The page


def test_the_page_tells_state_day_and_what_waits(admin_client: Client, account: Account) -> None:
    populate()
    upstream = Upstream.objects.get(name="vllm")
    batch = start(account, 2)
    batch.upstream = upstream
    batch.save(update_fields=["upstream"])

    page = admin_client.get(page_of(upstream)).content.decode()

    assert "480 / 512" in page
    assert "in progress</a>" in page
    assert "<polyline" in page
    assert 'data-label="Calls at once, as found" class="number">480<' in page


def test_the_batches_that_wait_are_its_own(admin_client: Client, account: Account) -> None:
    upstream, other = make_upstream(), make_upstream()
    ours, theirs = start(account, 1), start(account, 1)
    Batch.objects.filter(pk=ours.pk).update(upstream=upstream)
    Batch.objects.filter(pk=theirs.pk).update(upstream=other)

    ((count, _, url),) = admin_client.get(page_of(upstream)).context["batches"]

    rows = admin_client.get(url).context["cl"].result_list
    assert (count, [row.pk for row in rows]) == ("1", [ours.pk])


def test_the_numbers_of_a_model_lead_to_its_own_rows(admin_client: Client) -> None:
    upstream, now = make_upstream(), database_now()
    for model, failed in (("a", 1), ("b & c", 3), ("b & c", 0)):
        start = now - HOUR * (TrafficSlice.objects.count() + 1)
        TrafficSlice.objects.create(
            upstream=upstream, model=model, start=start, completed=5, failed=failed
        )

    models = admin_client.get(page_of(upstream)).context["models"]

    (rows, failures) = {one.model: urls for one, *urls in models}["b & c"]
    found = admin_client.get(rows).context["cl"].result_list
    assert [(row.model, row.failed) for row in found] == [("b & c", 3), ("b & c", 0)]
    assert [row.failed for row in admin_client.get(failures).context["cl"].result_list] == [3]


@pytest.mark.parametrize("path", ["page", "list"])
def test_few_queries(path: str, django_assert_max_num_queries: Any) -> None:
    populate()
    viewer = logged_in(User.objects.get(username__startswith="viewer"))
    url = page_of(Upstream.objects.get(name="vllm")) if path == "page" else list_of(Upstream)

    with django_assert_max_num_queries(10):
        assert viewer.get(url).status_code == 200
