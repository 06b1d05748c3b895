"""A query written once gives what Django's own would, for whatever values."""

import datetime
from typing import Any

import pytest
from django.db.models import DateTimeField, F, IntegerField, Q, QuerySet

from accounts.models import Account, Owner
from api.clock import database_now
from api.prepared import Given, Prepared, PreparedDelete, PreparedInsert, PreparedUpdate, as_moment
from batches.models import Batch
from tests.batches.factories import submit
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


def test_each_value_goes_where_it_is_given_and_the_sql_is_written_once() -> None:
    one, other = AccountFactory(name="one"), AccountFactory(name="other")
    written = []

    def build() -> QuerySet[Account]:
        written.append(1)
        return Account.objects.filter(Q(pk=Given("pk")), Q(name=Given("name")))

    query = Prepared(build)

    assert query.first(name="one", pk=one.pk) == one
    assert query.first(name="other", pk=other.pk) == other
    assert query.first(name="one", pk=other.pk) is None
    assert query.all(name="one", pk=one.pk) == [one]
    assert written == [1]


def test_rows_come_as_the_database_has_them() -> None:
    account = AccountFactory()
    query: Prepared[Account] = Prepared(
        lambda: Account.objects.filter(pk=Given("pk")).values_list("name", "created_at")
    )

    ((name, created_at),) = query.rows(pk=account.pk)

    assert (name, as_moment(created_at)) == (account.name, account.created_at)


def test_an_update_changes_what_it_should_and_says_how_many() -> None:
    account, other = AccountFactory(), AccountFactory()
    batch, untouched = submit(account, b"{}\n"), submit(other, b"{}\n")
    at = datetime.datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=datetime.UTC)
    update = PreparedUpdate(
        lambda: Batch.objects.filter(pk=Given("pk"), expires_at__gt=Given("now", DateTimeField())),
        total=F("total") + Given("more", IntegerField()),
        failed_at=Given("at", DateTimeField()),
        model=Given("model"),
    )

    for _ in range(2):
        assert update.run(pk=batch.pk, more=3, at=at, model="m", now=database_now()) == 1
    assert update.run(pk=batch.pk, more=3, at=at, model="m", now=batch.expires_at) == 0

    batch.refresh_from_db()
    untouched.refresh_from_db()
    assert (batch.total, batch.failed_at, batch.model) == (6, at, "m")
    assert (untouched.total, untouched.failed_at, untouched.model) == (0, None, None)


def test_a_delete_takes_what_it_should_and_says_how_many() -> None:
    one, other = AccountFactory(), AccountFactory()
    delete = PreparedDelete(lambda: Account.objects.filter(name=Given("name")))

    assert delete.run(name=one.name) == 1
    assert delete.run(name=one.name) == 0

    assert list(Account.objects.all()) == [other]


def test_an_insert_writes_what_the_orm_would() -> None:
    account = AccountFactory()
    batch = submit(account, b"{}\n", metadata={"a": "b"})
    names = [field.attname for field in Batch._meta.concrete_fields]
    insert = PreparedInsert(Batch, names)
    known = Batch.objects.values(*names).get(pk=batch.pk)

    for errors in (None, [{"code": "x"}]):
        Batch.objects.all().delete()
        assert insert.run(**known | {"errors": errors}) == 1
        assert Batch.objects.values(*names).get() == known | {"errors": errors}
        assert Batch.objects.filter(errors__isnull=True).exists() is (errors is None)


def test_a_row_has_the_same_values_as_by_the_orm() -> None:
    account = AccountFactory()
    batch = submit(account, b"{}\n", metadata={"a": "b"})
    at = datetime.datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=datetime.UTC)
    Batch.objects.filter(pk=batch.pk).update(errors=[{"code": "x"}], failed_at=at)

    found = Batch.objects.own(Owner(account), batch.pk)

    assert values(found) == values(Batch.objects.get(pk=batch.pk))
    assert (found.failed_at, found.errors) == (at, [{"code": "x"}])


def values(batch: Batch) -> dict[str, Any]:
    return {field.attname: getattr(batch, field.attname) for field in Batch._meta.concrete_fields}
