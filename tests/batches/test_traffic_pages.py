"""The rows that the console's sums are made of: each shows what the numbers that lead to it say."""

import re

import pytest
from django.test import Client

from accounts.models import Account
from api.clock import database_now
from batches import traffic
from batches.models import BatchMinute, OwnerHour, TrafficSlice
from console.parts import EMPTY
from tests.batches.factories import run, start
from tests.batches.test_overview import LATER
from tests.console.operators import list_of

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("model", [BatchMinute, TrafficSlice, OwnerHour])
def test_rows_tell_tokens_and_latencies(
    model: type[BatchMinute | TrafficSlice | OwnerHour], admin_client: Client, account: Account
) -> None:
    run(start(account, 5), failing=("0",))
    traffic.roll_up(database_now() + LATER)

    page = admin_client.get(list_of(model)).content.decode()

    cells = dict(re.findall(r'<t[dh] data-label="([^"]*)"[^>]*>([^<]*)<', page))
    told = {"Tokens in": "8", "Tokens out": "12", "P50": "50 ms", "P95": "95 ms"}
    assert told.items() <= cells.items()


def test_rows_without_a_good_answer_have_no_latency(admin_client: Client, account: Account) -> None:
    run(start(account, 1), failing=("0",))

    page = admin_client.get(list_of(BatchMinute)).content.decode()

    cells = dict(re.findall(r'<t[dh] data-label="([^"]*)"[^>]*>([^<]*)<', page))
    assert (cells["P50"], cells["P95"]) == (EMPTY, EMPTY)
