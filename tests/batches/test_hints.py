import datetime

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ

from batches.hints import ring, waiting, waiting_calls

pytestmark = pytest.mark.django_db


def test_a_hint_waits_in_the_queue_of_its_cluster() -> None:
    ring("validate_batch", "batch_1")
    ring("run_turn", cluster="engine")
    ring("run_turn", cluster="engine")
    assert waiting_calls("control", 10) == {("validate_batch", ("batch_1",))}
    assert waiting("control") == 1
    assert waiting("engine") == 2


def test_a_taken_hint_waits_no_more() -> None:
    ring("sweep")
    OrmQ.objects.update(lock=timezone.now() + datetime.timedelta(seconds=60))
    assert waiting("control") == 0
    assert waiting_calls("control", 10) == set()


def test_a_hint_is_rolled_back_with_the_rows_it_is_about() -> None:
    with transaction.atomic():
        ring("finalize_batch", "batch_1")
        transaction.set_rollback(True)
    assert waiting("control") == 0


def test_a_hint_signed_with_another_key_is_passed_over() -> None:
    ring("sweep")
    OrmQ.objects.update(payload="gAR9:forged:forged")
    assert waiting_calls("control", 10) == set()


def test_a_hint_leaves_no_record_and_is_acknowledged_when_it_fails() -> None:
    ring("purge")
    task = OrmQ.objects.get().task
    assert task["func"] == "batches.tasks.purge"
    assert (task["save"], task["ack_failure"]) == (False, True)
