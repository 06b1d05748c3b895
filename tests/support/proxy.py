"""A TCP proxy that loses connections, refuses them, or loses the answer to a COMMIT."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCK = 65536
COMMIT = b"COMMIT"


class Proxy:
    """Passes bytes on to `host:port` from a port of its own. Each connection has a thread for each direction."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0  # connections that were ended here
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._refusing = False
        self._commits_to_lose = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection there is, in the middle of whatever it does."""
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                self.cuts += 1
            self._open.clear()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Within the block nobody is connected, and nobody gets a connection that lasts."""
        self._refusing = True
        try:
            self.cut()
            yield
        finally:
            self._refusing = False

    def lose_commits(self, count: int) -> None:
        """Let the next so many COMMITs reach the server, and end the connection before their answer."""
        self._commits_to_lose = count

    def close(self) -> None:
        self._refusing = True
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self._refusing:
                return
            with suppress(OSError), socket.create_connection(self._to) as server:
                with self._lock:
                    self._open |= {client, server}
                back = threading.Thread(target=self._answer, args=(server, client), daemon=True)
                back.start()
                self._ask(client, server)
                for end in (client, server):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                back.join()
                with self._lock:
                    self._open -= {client, server}

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while asked := client.recv(BLOCK):
            if self._is_lost(asked):
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)  # before the server has heard of it
                server.sendall(asked)
                server.shutdown(socket.SHUT_WR)
                return
            server.sendall(asked)

    def _is_lost(self, asked: bytes) -> bool:
        with self._lock:
            lost = COMMIT in asked and self._commits_to_lose > 0
            self._commits_to_lose -= lost
            self.cuts += lost
        return lost

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while answer := server.recv(BLOCK):
                client.sendall(answer)
            client.shutdown(socket.SHUT_RDWR)
