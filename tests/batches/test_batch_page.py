"""The page of one batch, as operators see it, and what it costs."""

import shlex
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Account, ApiKey, Owner
from api.clock import database_now
from batches import acts as verbs
from batches import lifecycle, results
from batches.models import Batch, Priority, Status
from console import acts
from console.acts import By
from console.models import Act
from console.parts import page_of
from tests.batches.factories import LEASE, PATHS, make_engine, reach, run, start, submit
from tests.batches.test_commands import call
from tests.console.operators import in_role, list_of, logged_in, name_of, with_permissions

EVIL = "<script>alert(1)</script>"
TOLD = "The model is not there."  # by the upstream of the factories


@pytest.fixture(autouse=True)
def _small_shards(settings: Any) -> None:
    settings.BATCH_SHARD_LINES = 3


@pytest.fixture
def running(account: Account) -> Batch:
    """Twelve lines in four shards: one done with a failure, one held, two that wait; and a rival."""
    owner = Owner(account, account.external_users.create(external_id="alice"))
    batch = run(start(owner, 12), failing={"1"}, most=1)
    assert batch.shards.get(number=1).claim(make_engine(), LEASE, database_now())
    start(account, 5)
    return batch


@pytest.fixture
def ended(account: Account) -> Batch:
    """Six lines, two of them failed by the upstream."""
    batch = run(start(account, 6, metadata={"description": "nightly"}), failing={"1", "5"})
    assert results.finalize(batch.pk) is None
    batch.refresh_from_db()
    assert batch.status == Status.COMPLETED
    return batch


def seen(client: Client, batch: Batch) -> str:
    return client.get(page_of(batch)).content.decode()


def shown(client: Client, batch: Batch) -> Any:
    """What the page has to show, by name."""
    return client.get(page_of(batch)).context


@pytest.mark.parametrize("status", list(PATHS))
def test_every_state_has_its_page(status: Status, account: Account, admin_client: Client) -> None:
    batch = reach(submit(account, b"{}\n", metadata={"description": EVIL}), status)

    page = admin_client.get(page_of(batch))

    assert page.status_code == 200
    assert EVIL not in page.content.decode()
    assert batch.pk in page.content.decode()


@pytest.mark.parametrize("role", ["operator", "admin"])
@pytest.mark.parametrize("which", ["running", "ended"])
def test_a_page_asks_little(
    role: str, which: str, request: pytest.FixtureRequest, django_assert_max_num_queries: Any
) -> None:
    batch: Batch = request.getfixturevalue(which)
    client = logged_in(in_role(role))
    client.get(page_of(batch))  # the first look at content is written down

    with django_assert_max_num_queries(10):
        client.get(page_of(batch))


def test_no_such_batch_leads_back_to_the_list(db: None, admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:batches_batch_change", args=["batch_none"]), follow=True)

    assert page.status_code == 200
    assert admin_client.get("/admin/batches/batch/a%00b/lines/").status_code == 404


# How far it is


def test_it_is_told_how_far_it_is_and_why_it_waits(running: Batch, admin_client: Client) -> None:
    page = shown(admin_client, running)
    figures = page["figures"]
    assert (figures["done"], figures["failed"], figures["open"]) == ("2", "1", "9")
    assert page["progress"].rest_text == "of 12 \u00b7 25 %"
    assert figures["pace"].endswith(("lines/s", "lines/min"))
    assert figures["time"].startswith("about ")
    assert figures["window"].endswith(" left")
    assert ("calling", "phase now") in page["phases"]
    assert "No worker is running" in figures["reasons"]
    assert ">in progress</span>" in page["badges"]
    assert "paused" not in page["badges"]

    lifecycle.pause(running, actor="operator anna", reason="costs")

    page = shown(admin_client, running)
    assert page["figures"]["time"] == "paused"
    assert ">paused</span>" in page["badges"]
    assert page["figures"]["reasons"].startswith("It is paused by operator anna: costs")


def test_only_a_batch_that_may_still_change_redraws_itself(
    running: Batch, ended: Batch, admin_client: Client
) -> None:
    assert seen(admin_client, running).count(" data-redraw") == 2
    assert " data-redraw" not in seen(admin_client, ended)


@pytest.mark.parametrize(
    ("status", "classes"),
    [
        (Status.VALIDATING, ["now", "to-come", "to-come", "to-come"]),
        (Status.FAILED, ["bad", "to-come", "to-come", "past"]),
        (Status.CANCELLING, ["past", "past", "now", "to-come"]),
        (Status.EXPIRED, ["past", "past", "past", "past"]),
    ],
)
def test_the_phases_say_how_far_it_is(
    status: Status, classes: list[str], account: Account, admin_client: Client
) -> None:
    batch = reach(submit(account, b"{}\n"), status)

    page = shown(admin_client, batch)

    assert [one for _, one in page["phases"]] == [f"phase {one}" for one in classes]
    is_over = status in (Status.FAILED, Status.EXPIRED)
    assert page["phases"][3][0] == (status.label if is_over else "ended")
    assert page["figures"]["time"].startswith("took") == is_over


# Errors


def test_what_the_upstream_said_is_for_those_who_may_read_content(
    ended: Batch, admin_client: Client
) -> None:
    viewer = logged_in(in_role("viewer"))

    assert TOLD in seen(admin_client, ended)
    assert TOLD not in seen(viewer, ended)
    assert "http_400" in seen(viewer, ended)


def test_reading_it_is_logged_once(ended: Batch) -> None:
    auditor = logged_in(in_role("auditor"))

    for _ in range(2):
        assert TOLD in seen(auditor, ended)

    act = Act.objects.get()
    assert (act.operator, act.verb) == (name_of(auditor), "read error messages")
    assert act.affected.get().object_id == ended.pk


def test_our_own_words_are_for_everybody_and_no_look_at_content(account: Account) -> None:
    batch = start(account, 6)
    lifecycle.cancel(batch, actor="me")
    results.finalize(batch.pk)

    for role in ("viewer", "auditor"):
        page = seen(logged_in(in_role(role)), batch)
        assert "was not executed because the batch was cancelled." in page
    assert Act.objects.count() == 0


def test_a_cause_leads_to_its_lines_and_to_their_requeue(ended: Batch) -> None:
    client = logged_in(in_role("operator"))
    (row,) = client.get(page_of(ended)).context["causes"]

    assert (row.cause, row.lines, row.share) == ("http_400", 2, "33 %")
    lines = client.get(row.lines_url).context["lines"]
    assert [line["line"].number for line in lines] == [2, 6]
    question = client.get(row.requeue_url).content.decode()
    assert 'value="http_400" id="id_with-causes_0" checked' in " ".join(question.split())


def test_why_a_file_was_refused_is_told(account: Account, admin_client: Client) -> None:
    batch = submit(account, b"{}\n")
    errors = [
        {"code": "bad", "message": f"{EVIL} {line}", "param": None, "line": line}
        for line in range(1, 31)
    ]
    batch.move(Status.FAILED, actor="validation", errors=errors)

    page = seen(admin_client, batch)

    assert "Why it was refused" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 20" in page
    assert EVIL not in page
    assert "and 10 more" in page


# What else


def test_who_is_ahead_and_who_holds_it_are_told(running: Batch, admin_client: Client) -> None:
    context = admin_client.get(page_of(running)).context

    assert [rival.open_lines for rival in context["company"].rivals] == [5]
    rows = [(row.told, row.holder.engine, row.holder.shards) for row in context["holders"]]
    assert rows == [("running", "here (1)", 1), ("waiting", "", 2), ("done", "", 1)]


def test_users_lead_to_what_is_theirs_and_not_to_a_namesakes(
    account: Account, admin_client: Client
) -> None:
    alice, bob = (account.external_users.create(external_id=name) for name in ("a/1", "b&2"))
    batch, _ = start(Owner(account, alice), 1), start(Owner(account, bob), 1)

    page = seen(admin_client, batch)

    whose = f"account={quote(account.name)}&amp;user="
    assert f'?{whose}a%2F1"' in page
    assert f'?state=active&amp;{whose}b%262"' in page


OWNERS = ("accounts.view_account", "accounts.view_externaluser", "accounts.view_apikey")


def test_the_facts_lead_to_the_pages_of_whom_it_belongs_to(account: Account) -> None:
    alice = account.external_users.create(external_id="alice")
    batch = start(Owner(account, alice), 1)
    key, _ = ApiKey.objects.issue(account, "first")
    Batch.objects.filter(pk=batch.pk).update(created_by=key.prefix)

    page = seen(with_permissions("batches.view_batch", *OWNERS), batch)
    assert f'<a href="{page_of(account)}">' in page
    assert f'<a href="{page_of(alice)}">alice</a>' in page
    keys = f"{list_of(ApiKey)}?q={key.prefix}"
    assert f'<a href="{keys}">{key.prefix}</a>' in page
    found = with_permissions(*OWNERS).get(keys).context["cl"].result_list
    assert [row.pk for row in found] == [key.pk]

    blind = seen(with_permissions("batches.view_batch"), batch)
    assert f"by {key.prefix}<" in blind
    for url in (page_of(account), page_of(alice), keys):
        assert url not in blind


def test_a_lapsed_lease_is_told(running: Batch, admin_client: Client) -> None:
    running.shards.filter(state="running").update(lease_expires_at=running.created_at)

    assert admin_client.get(page_of(running)).context["holders"][0].told == "lapsed"


def test_the_timeline_has_acts_only_for_those_who_may_read_the_log(running: Batch) -> None:
    anna = By("operator anna")
    acts.carry_on(
        acts.begin(verbs.PAUSE, anna, Batch.objects.filter(pk=running.pk), reason="costs")
    )

    mine, theirs = (logged_in(in_role(role)) for role in ("operator", "viewer"))

    assert "Pause batches: paused" in seen(mine, running)
    assert "Pause batches" not in seen(theirs, running)
    assert "Checked, and in progress" in seen(theirs, running)


def test_files_are_there_to_download_for_those_who_may(ended: Batch) -> None:
    auditor, viewer = (logged_in(in_role(role)) for role in ("auditor", "viewer"))
    files = auditor.get(page_of(ended)).context["files"]

    assert [file.kind for file in files] == ["input", "output", "error"]
    for file in files:
        answer = auditor.get(file.download)
        assert len(b"".join(answer.streaming_content)) == file.bytes  # type: ignore[attr-defined]
        assert viewer.get(file.download).status_code == 403
    assert Act.objects.filter(verb="download files").count() == 3
    assert {file.download for file in viewer.get(page_of(ended)).context["files"]} == {""}


def test_a_file_that_is_gone_is_said_to_be(account: Account, admin_client: Client) -> None:
    batch = lifecycle.submit(
        Owner(account),
        "test",
        input_file_id="file-gone",
        endpoint="/v1/chat/completions",
        completion_window="24h",
    )

    (file,) = admin_client.get(page_of(batch)).context["files"]

    assert (file.bytes, file.download) == (None, "")
    assert "is gone" in seen(admin_client, batch)


@pytest.mark.parametrize("file_id", ["a\nb", "../x", "file-_23 \u202e<b>"])
def test_any_text_may_stand_for_the_input_file(
    file_id: str, account: Account, admin_client: Client
) -> None:
    batch = submit(account, b"{}\n")
    Batch.objects.filter(pk=batch.pk).update(input_file_id=file_id, held_file=None)

    (file,) = admin_client.get(page_of(batch)).context["files"]

    assert (file.page, file.download, file.bytes) == ("", "", None)


def test_buttons_are_those_that_apply_and_are_allowed(running: Batch, ended: Batch) -> None:
    def buttons(client: Client, batch: Batch) -> list[str]:
        return [verb.button for verb in client.get(page_of(batch)).context["verbs"]]

    operator, viewer = (logged_in(in_role(role)) for role in ("operator", "viewer"))
    canceller = with_permissions("batches.view_batch", "batches.cancel_batch")

    assert buttons(operator, running) == ["Pause", "Priority", "Expire now", "Cancel"]
    assert buttons(canceller, running) == ["Cancel"]
    assert "Requeue failed" in buttons(operator, ended)
    assert buttons(viewer, running) == buttons(canceller, ended) == []


def test_the_same_is_there_as_commands(running: Batch) -> None:
    lifecycle.prioritize(running, Priority.HIGH)
    client = logged_in(in_role("operator"))

    commands = dict(client.get(page_of(running)).context["commands"])

    curl = commands["Cancel, by the API"]
    assert curl.startswith('curl -X POST -H "Authorization: Bearer $API_KEY" -H \'X-On-Behalf-Of')
    assert curl.endswith(f"/api/v1/llm/batches/{running.pk}/cancel")
    assert commands["Cancel"] == f"./run manage cancel_batch {running.pk} --reason"
    assert "high priority" in seen(client, running)


def test_a_copied_command_does_nothing_before_a_reason_is_added(running: Batch) -> None:
    client = logged_in(in_role("operator"))
    commands = client.get(page_of(running)).context["commands"]
    acting = [shlex.split(command)[2:] for _, command in commands if "--reason" in command]

    for words in acting:
        _, err, succeeded = call(*words)
        assert not succeeded
        assert "argument --reason: expected one argument" in err
    assert not Act.objects.exists()
    assert len(acting) == 4
