"""A query written once gives what Django's own would, for whatever values."""

import datetime
from typing import Any

import pytest
from django.db.models import Q, QuerySet

from accounts.models import Account, Owner
from api.prepared import Prepared
from batches.models import Batch
from tests.batches.factories import submit
from tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


def test_each_value_goes_where_its_stand_in_is() -> None:
    one, other = AccountFactory(name="one"), AccountFactory(name="other")
    written = []

    def build(name: str, pk: int) -> QuerySet[Account]:
        written.append(name)
        return Account.objects.filter(Q(pk=pk), Q(name=name))

    query = Prepared(build, "a name", -1)

    assert query.first("one", one.pk) == one
    assert query.first("other", other.pk) == other
    assert query.first("one", other.pk) is None
    assert written == ["a name"]


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
