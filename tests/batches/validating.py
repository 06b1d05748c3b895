"""Whole files through validation, and what became of them."""

from typing import Any

from accounts.models import Account
from batches import validation
from batches.executor.lines import parse_shard
from batches.models import Batch, Shard
from files.content import open_file
from tests.batches.factories import submit

BOM = b"\xef\xbb\xbf"


def validated(batch: Batch) -> Batch:
    validation.validate(batch.pk)
    batch.refresh_from_db()
    return batch


def check(account: Account, content: bytes, **asked: Any) -> Batch:
    return validated(submit(account, content, **asked))


def planned(batch: Batch) -> list[Any]:
    """Return the requests of all shards, read as an engine reads them; checks that the shards tile the file."""
    assert batch.held_file is not None
    requests, end = [], 0
    for number, shard in enumerate(batch.shards.order_by("number")):
        assert (shard.number, shard.state) == (number, Shard.State.WAITING)
        assert shard.start >= end
        with open_file(batch.held_file, shard.start, shard.end - shard.start) as stream:
            found = parse_shard(stream.read(), shard.first_line, ())
        assert [request.index for request in found] == list(range(shard.lines))
        requests += found
        end = shard.end
    return requests
