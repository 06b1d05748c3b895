"""Ports that are a test's own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody else is given within the block; a server that is told of it may listen there.

    A socket that never listens holds it: as long as no server does either, connections are refused.
    """
    with socket.socket() as holder:
        # As servers do: two sockets may have one port if both agree and only one of them listens.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
