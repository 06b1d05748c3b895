"""The operator log says who did what, when, to what and why; it is found, and nothing alters it."""

import datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import get_commands
from django.test import Client
from django.urls import reverse

from accounts.models import Account
from batches import acts as verbs
from batches.models import Batch
from console import acts
from console.acts import By
from console.models import Act, ActObject
from tests.batches.factories import start
from tests.console.operators import list_of, with_permissions
from tests.support.routes import api_routes

pytestmark = pytest.mark.django_db
LOG = reverse("admin:console_act_changelist")


@pytest.fixture
def reader(db: None) -> Client:
    return with_permissions("console.view_act", "batches.view_batch")


@pytest.fixture
def act(account: Account) -> Act:
    """Two batches cancelled by anna."""
    for _ in range(2):
        start(account, 1)
    by = By("operator anna", None, "192.0.2.7")
    act = acts.begin(verbs.CANCEL, by, Batch.objects.order_by("pk"), reason="ticket 4711")
    acts.carry_on(act)
    return act


def found(client: Client, query: Any) -> list[int]:
    page = client.get(LOG, query)
    assert page.status_code == 200
    return [row.pk for row in page.context["cl"].result_list]


def test_the_list_says_who_what_when_and_why(reader: Client, act: Act) -> None:
    told = reader.get(LOG).content.decode()

    for part in (
        "operator anna",
        "192.0.2.7",
        "cancel batches",
        "ticket 4711",
        "2 done",
        "and 1 more",
    ):
        assert part in told


def test_a_page_of_an_act_says_what_came_of_each(reader: Client, act: Act) -> None:
    told = reader.get(reverse("admin:console_act_change", args=[act.pk])).content.decode()

    assert told.count(">cancelled</td>") == 2
    for one in act.affected.all():
        assert one.object_id in told


def test_it_is_found_by_object_and_by_operator(reader: Client, act: Act) -> None:
    acts.record(By("operator bob"), "change upstream", Group.objects.create(name="g"), outcome="x")
    batch = act.affected.first()
    assert batch is not None

    assert found(reader, {"q": batch.object_id}) == [act.pk]
    assert found(reader, {"q": batch.object_id[:20]}) == [act.pk]
    assert found(reader, {"q": "anna"}) == [act.pk]
    assert found(reader, {"q": "operator anna"}) == [act.pk]
    assert found(reader, {"q": "nobody"}) == []


def test_it_is_filtered_by_verb_and_outcome(reader: Client, act: Act) -> None:
    assert found(reader, {"verb": "cancel batches"}) == [act.pk]
    assert found(reader, {"verb": "requeue failed lines"}) == []
    assert found(reader, {"outcome": "refused"}) == []
    again = acts.begin(verbs.CANCEL, By("b"), Batch.objects.all(), reason="r")
    assert found(reader, {"outcome": "unfinished"}) == [again.pk]
    acts.carry_on(again)
    assert found(reader, {"outcome": "refused"}) == [again.pk]


def test_every_verb_can_be_filtered_by(reader: Client) -> None:
    told = reader.get(LOG).content.decode()

    for verb in (*acts.VERBS, "add API key", "change upstream", "delete user"):
        assert f">{verb}</a>" in told


def test_what_was_done_to_one_row_is_on_its_own_page(reader: Client, act: Act) -> None:
    batch = Batch.objects.first()
    assert batch is not None
    url = reverse("admin:batches_batch_history", args=[batch.pk.replace("_", "_5F")])

    assert "ticket 4711" in reader.get(url).content.decode()
    assert with_permissions("batches.view_batch").get(url).status_code == 403


def test_many_objects_come_in_pages(reader: Client) -> None:
    Group.objects.bulk_create(Group(name=f"g{number:03}") for number in range(150))
    rename = acts.Verb(
        name="count groups",
        button="",
        asks="",
        done="counted",
        explains="",
        model=Group,
        permission="",
        do=lambda group, act: None,
    )
    act = acts.begin(
        rename, By("x"), Group.objects.filter(name__startswith="g").order_by("pk"), reason="r"
    )
    acts.carry_on(act)
    del acts.VERBS["count groups"]
    url = reverse("admin:console_act_change", args=[act.pk])

    assert reader.get(url).content.decode().count(">counted</td>") == 100
    assert reader.get(url, {"p": 2}).content.decode().count(">counted</td>") == 50


# Nothing alters it


@pytest.mark.parametrize("page", ["add", "change", "delete"])
def test_no_page_alters_it(page: str, act: Act, admin_client: Client) -> None:
    before = list(Act.objects.values()), list(ActObject.objects.values())
    url = reverse(f"admin:console_act_{page}", args=[] if page == "add" else [act.pk])

    response = admin_client.post(url, {"post": "yes", "reason": "another", "verb": "x"})

    assert response.status_code == 403
    assert (list(Act.objects.values()), list(ActObject.objects.values())) == before


def test_no_permission_to_alter_it_can_be_given() -> None:
    about = Permission.objects.filter(content_type__app_label="console")

    assert [permission.codename for permission in about] == ["view_act"]


def test_no_other_page_reaches_its_rows() -> None:
    inlines = {inline.model for page in admin.site._registry.values() for inline in page.inlines}

    assert not admin.site.is_registered(ActObject)
    assert not inlines & {Act, ActObject}
    assert not admin.site._registry[Act].actions


def test_neither_the_api_nor_a_command_knows_it() -> None:
    assert not [route.path for route in api_routes() if "act" in route.path.replace("content", "")]
    assert "console" not in get_commands().values()


def test_no_cascade_reaches_it(act: Act) -> None:
    related = [field for field in Act._meta.get_fields() if field.is_relation and field.many_to_one]

    assert {field.remote_field.on_delete.__name__ for field in related} == {"SET_NULL"}
    assert ActObject._meta.get_field("act").remote_field.on_delete.__name__ == "PROTECT"
    User.objects.all().delete()
    assert Act.objects.count() == 1


def test_who_may_not_read_it_does_not(act: Act) -> None:
    viewer = with_permissions("batches.view_batch")

    assert viewer.get(LOG).status_code == 403
    assert list_of(Act) == LOG


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", "=HYPERLINK(1)", "a\u202eb", "{{7*7}}"]
)
def test_what_strangers_wrote_is_shown_as_text(evil: str, reader: Client) -> None:
    group = Group.objects.create(name=evil)
    act = acts.record(By("operator x"), "change group", group, outcome=evil, reason=evil)

    for url in (LOG, reverse("admin:console_act_change", args=[act.pk])):
        told = reader.get(url).content.decode()
        assert "<script>alert" not in told
        assert "\u202e" not in told


def test_it_is_filtered_by_operator_and_time(reader: Client, act: Act) -> None:
    old = acts.record(By("operator bob"), "add role", Group.objects.create(name="g"), outcome="x")
    Act.objects.filter(pk=old.pk).update(at=act.at - datetime.timedelta(days=3))

    assert found(reader, {"operator": "bob"}) == [old.pk]
    assert found(reader, {"operator": "operator anna"}) == [act.pk]
    assert found(reader, {"operator": "nobody"}) == []
    assert found(reader, {"time": "day"}) == [act.pk]
    assert found(reader, {"time": "week"}) == [act.pk, old.pk]
    assert found(reader, {"time": "nonsense"}) == [act.pk, old.pk]
