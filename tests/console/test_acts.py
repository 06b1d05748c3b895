"""An act is written down before it is done, done once to each object, and never altered."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import ProtectedError

from console import acts
from console.acts import By, Refused, Verb
from console.models import Act, ActObject
from tests.support.threads import race

ANNA = By("operator anna", None, "192.0.2.1")
Define = Callable[..., Verb]


@pytest.fixture
def define() -> Iterator[Define]:
    """Define a verb for groups, which any test has, and forget it afterwards."""
    known = dict(acts.VERBS)

    def make(do: Callable[[Any, Act], str | None], **options: Any) -> Verb:
        fields = {"name": "rename groups", "button": "Rename", "asks": "Rename {objects}"}
        fields |= {"done": "renamed", "explains": "", "permission": "auth.change_group"}
        return Verb(model=Group, do=do, **fields | options)

    yield make
    acts.VERBS.clear()
    acts.VERBS.update(known)


def rename(group: Group, act: Act) -> None:
    Group.objects.filter(pk=group.pk).update(name=f"{group.name}+")


def groups(count: int) -> Any:
    names = [f"group {number:02}" for number in range(count)]
    Group.objects.bulk_create(Group(name=name) for name in names)
    return Group.objects.filter(name__in=names).order_by("pk")


@pytest.mark.django_db
def test_an_act_is_written_down_before_anything_is_done(define: Define) -> None:
    rows = groups(2)

    act = acts.begin(define(rename), ANNA, rows, reason="because", parameters={"to": 1})

    assert (act.operator, act.address, act.verb) == ("operator anna", "192.0.2.1", "rename groups")
    assert (act.reason, act.parameters, act.total, act.left) == ("because", {"to": 1}, 2, 2)
    assert [(one.kind, one.label, one.outcome) for one in act.affected.order_by("id")] == [
        ("group", "group 00", ""),
        ("group", "group 01", ""),
    ]
    assert Group.objects.filter(name__endswith="+").count() == 0
    assert acts.unfinished() == [act.pk]


@pytest.mark.django_db
def test_carrying_on_does_it_and_says_what_came_of_it(define: Define) -> None:
    act = acts.begin(define(rename), ANNA, groups(3), reason="r")

    assert acts.carry_on(act) == 0

    assert Group.objects.filter(name__endswith="+").count() == 3
    assert (act.done, act.refused, act.left) == (3, 0, 0)
    assert act.finished_at is not None
    assert set(act.affected.values_list("outcome", flat=True)) == {"renamed"}
    assert acts.unfinished() == []


@pytest.mark.django_db
def test_carrying_on_twice_does_nothing_twice(define: Define) -> None:
    act = acts.begin(define(rename), ANNA, groups(1), reason="r")
    acts.carry_on(act)

    acts.carry_on(act)

    assert Group.objects.filter(name__endswith="++").count() == 0
    assert act.done == 1


@pytest.mark.django_db
def test_time_is_up_and_another_goes_on(define: Define) -> None:
    act = acts.begin(define(rename), ANNA, groups(3), reason="r")

    assert acts.carry_on(act, seconds=0) == 3
    assert acts.carry_on(Act.objects.get(pk=act.pk), seconds=60) == 0


@pytest.mark.django_db
def test_a_refusal_is_an_outcome_and_changes_nothing(define: Define) -> None:
    def refuse_the_second(group: Group, act: Act) -> None:
        rename(group, act)
        if group.name == "group 01":
            raise Refused("it is the second")

    act = acts.begin(define(refuse_the_second), ANNA, groups(3), reason="r")
    acts.carry_on(act)

    assert (act.done, act.refused) == (2, 1)
    assert Group.objects.filter(name="group 01").exists()
    (refused,) = act.affected.filter(is_refusal=True)
    assert refused.outcome == "refused: it is the second"


@pytest.mark.django_db
def test_a_verbs_own_exceptions_are_refusals(define: Define) -> None:
    def refuse(group: Group, act: Act) -> None:
        raise LookupError("no\u202e")

    act = acts.begin(define(refuse, refusals=(LookupError,)), ANNA, groups(1), reason="r")
    acts.carry_on(act)

    assert act.affected.get().outcome == "refused: no⟨U+202E⟩"


@pytest.mark.django_db
def test_a_mistake_with_one_object_keeps_no_other_waiting(
    define: Define, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(group: Group, act: Act) -> None:
        rename(group, act)
        assert group.name != "group 00"

    act = acts.begin(define(fail), ANNA, groups(2), reason="r")
    assert acts.carry_on(act) == 0

    assert act.affected.order_by("id").first().outcome.startswith("failed: AssertionError")
    assert Group.objects.filter(name="group 00").exists()
    assert "could not rename groups" in caplog.text


@pytest.mark.django_db
def test_a_database_that_is_away_decides_nothing(define: Define) -> None:
    def away(group: Group, act: Act) -> None:
        raise OperationalError("away")

    act = acts.begin(define(away), ANNA, groups(1), reason="r")
    with pytest.raises(OperationalError):
        acts.carry_on(act)

    assert act.affected.get().outcome == ""
    assert acts.unfinished() == [act.pk]


@pytest.mark.django_db
def test_a_row_that_is_gone_is_refused(define: Define) -> None:
    act = acts.begin(define(rename), ANNA, groups(1), reason="r")
    Group.objects.all().delete()

    acts.carry_on(act)

    assert act.affected.get().outcome == "refused: it is not there any more"


@pytest.mark.django_db
def test_a_do_may_say_more_than_that_it_is_done(define: Define) -> None:
    act = acts.begin(define(lambda group, act: f"was {group.name}"), ANNA, groups(1), reason="r")
    acts.carry_on(act)

    assert (act.affected.get().outcome, act.done) == ("was group 00", 1)


@pytest.mark.django_db
def test_one_token_is_one_act(define: Define) -> None:
    verb = define(rename)
    first = acts.begin(verb, ANNA, groups(1), reason="r", token="t")

    again = acts.begin(verb, ANNA, Group.objects.none(), reason="other", token="t")

    assert again == first
    assert Act.objects.count() == 1


@pytest.mark.django_db
def test_anothers_token_opens_nothing(define: Define) -> None:
    verb = define(rename)
    acts.begin(verb, ANNA, groups(1), reason="r", token="t")

    with pytest.raises(IntegrityError), transaction.atomic():
        acts.begin(verb, By("operator bob"), Group.objects.all(), reason="r", token="t")

    assert Act.objects.count() == 1


@pytest.mark.django_db
def test_an_act_has_at_most_so_many_objects(
    define: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "MOST", 2)
    verb = define(rename)

    with pytest.raises(acts.TooMany):
        acts.begin(verb, ANNA, groups(3), reason="r")

    assert Act.objects.count() == 0
    assert acts.begin(verb, ANNA, Group.objects.order_by("pk")[:2], reason="r").total == 2


@pytest.mark.django_db
def test_an_act_of_a_newer_version_waits_for_it(
    define: Define, caplog: pytest.LogCaptureFixture
) -> None:
    act = acts.begin(define(rename), ANNA, groups(1), reason="r")
    del acts.VERBS["rename groups"]

    assert acts.carry_on(act) == 1

    assert "waits for a version that knows how to rename groups" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_the_same_page_sent_twice_at_once_is_one_act(define: Define) -> None:
    verb, rows = define(rename), groups(2)

    first, second = race(
        *2 * [lambda: acts.begin(verb, ANNA, rows.all(), reason="r", token="t").pk]
    )

    assert first == second
    assert ActObject.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_rivals_each_object_has_one(define: Define) -> None:
    act = acts.begin(define(rename), ANNA, groups(12), reason="r")

    race(*3 * [lambda: acts.carry_on(Act.objects.get(pk=act.pk))])

    act.refresh_from_db()
    assert (act.done, act.refused, act.left) == (12, 0, 0)
    assert act.finished_at is not None
    assert Group.objects.filter(name__endswith="+").exclude(name__endswith="++").count() == 12


@pytest.mark.django_db
def test_what_was_done_is_recorded_as_an_act_of_its_own() -> None:
    group = groups(1).get()

    act = acts.record(ANNA, "change group", group, outcome="changed: name", reason="typo")

    assert (act.total, act.done, act.left, act.reason) == (1, 1, 0, "typo")
    assert act.finished_at is not None
    assert act.affected.get().outcome == "changed: name"


@pytest.mark.django_db
def test_what_dies_while_it_records_leaves_no_act_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    group = groups(1).get()
    monkeypatch.setattr(ActObject.objects.all().__class__, "bulk_create", _dies)

    with pytest.raises(KeyboardInterrupt):
        acts.record(ANNA, "change group", group, outcome="changed: name")

    assert not Act.objects.exists()


def _dies(*args: Any, **fields: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.django_db
def test_the_acts_on_a_row_are_found_the_latest_first() -> None:
    one, other = groups(2)
    for verb in ("add group", "change group"):
        acts.record(ANNA, verb, one, outcome="done")
    acts.record(ANNA, "add group", other, outcome="done")

    found = [affected.act.verb for affected in ActObject.objects.of(one)]

    assert found == ["change group", "add group"]


@pytest.mark.django_db
def test_the_log_outlives_the_operator() -> None:
    user = User.objects.create_user("anna")
    act = acts.record(By("operator anna", user.pk), "add group", groups(1).get(), outcome="added")

    user.delete()

    act.refresh_from_db()
    assert (act.user, act.operator) == (None, "operator anna")


@pytest.mark.django_db
def test_an_act_with_objects_cannot_be_deleted() -> None:
    act = acts.record(ANNA, "add group", groups(1).get(), outcome="added")

    with pytest.raises(ProtectedError):
        act.delete()
