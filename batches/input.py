"""The requests of a shard, as they stand in the input file."""

import functools
from collections.abc import Container

from batches.executor.lines import Request, parse_shard
from batches.models import Shard
from files.content import Part, open_parts, parts_of
from files.storage import Missing


class Input:
    """The requests of an input file. It is asked once for its parts, however many shards are read."""

    def __init__(self, file_id: str) -> None:
        self._file_id = file_id

    @functools.cached_property
    def _parts(self) -> list[Part]:
        return parts_of(self._file_id)

    def requests(self, shard: Shard, skip: Container[int]) -> list[Request]:
        """The shard's requests, but those whose index is in `skip`. Raises files.storage.Missing."""
        with open_parts(self._parts, shard.start, shard.end) as stream:
            lines = stream.read()
        if len(lines) != shard.end - shard.start:
            raise Missing(f"The input of {shard} is not in the storage.")
        try:
            return parse_shard(lines, shard.first_line, skip)
        except ValueError as error:
            raise Missing(f"The input of {shard} has changed in the storage: {error}") from error
