"""`api`: what a request costs the web server, beside a trivial view, a bare copy, and a short list, on the same server."""

import functools
import http.client
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import cpu
from benchmarks.figures import Figure, Section
from benchmarks.stage import Stage, stage
from tools.processes import ROOT

ABOUT = (
    "CPU of the web server's processes for one request, over one kept connection, the best of several rounds; "
    "on PostgreSQL its server's own CPU apart. The trivial view is an `APIView` with DRF's own token that returns "
    "a constant; the usual one is a `RetrieveAPIView` with a `ModelSerializer`. Files: MB for one CPU second."
)
REQUESTS = 400
ROUNDS = 3
FILE_MB = 200
TRANSFERS = 3
MANY = 1_000_000


def measure(servers: dict[str, str]) -> list[Section]:
    return [_section(name, url) for name, url in servers.items()]


def _section(name: str, url: str) -> Section:
    with stage(url) as place:
        web = place.start_web()
        client = Client(place)
        token = client.token()
        batch_id = place.run("benchmarks.rows", "batch")
        place.run("benchmarks.rows", "copies", "99")
        figures = [*_polls(client, batch_id, token)]
        figures += [*_lists(client)]
        if not url:
            figures += [*_files(client, web.pid)]
    return Section(f"api, {name}", ABOUT, figures)


class Client:
    """Sends requests on one kept connection, and says what they cost the server."""

    def __init__(self, place: Stage) -> None:
        self.place = place
        self.key = {"Authorization": f"Bearer {place.key()}"}
        self._connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=120)

    def token(self) -> dict[str, str]:
        """DRF's own kind of key."""
        script = (
            "from django.contrib.auth.models import User as U; from rest_framework.authtoken.models import Token as T;"
            "print(T.objects.create(user=U.objects.create(username='bench')).key)"
        )
        printed = self.place.command("manage.py", "shell", "-v0", "-c", script)
        return {"Authorization": f"Token {printed.split()[-1]}"}

    def request(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> bytes:
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, (answer.status, content[:500])
        return content

    def cost(self, work: Callable[[], Any]) -> tuple[float, float]:
        """CPU seconds of web server and database server for `work`."""
        web, server = self.place.spent(), self.place.server_spent()
        work()
        return self.place.spent() - web, self.place.server_spent() - server

    def rounds(
        self, pages: dict[str, tuple[str, dict[str, str]]]
    ) -> dict[str, tuple[float, float]]:
        """Microseconds of web server and of database server for each page: the best of interleaved rounds."""
        best: dict[str, tuple[float, float]] = {}
        self._connection.close()  # the server drops it when it has been idle
        for path, headers in pages.values():  # the first ones compile and connect
            for _ in range(20):
                self.request("GET", path, headers)
        for _ in range(ROUNDS):
            for name, (path, headers) in pages.items():
                web, server = self.cost(functools.partial(self._many, path, headers))
                found = (web / REQUESTS * 1e6, server / REQUESTS * 1e6)
                best[name] = min(best.get(name, found), found)
        return best

    def _many(self, path: str, headers: dict[str, str]) -> None:
        for _ in range(REQUESTS):
            self.request("GET", path, headers)


def _polls(client: Client, batch_id: str, token: dict[str, str]) -> list[Figure]:
    pages: dict[str, tuple[str, dict[str, str]]] = {
        "plain": ("/plain", {}),
        "trivial": ("/trivial", token),
        "usual": (f"/usual/{batch_id}", token),
        "batch": (f"/v1/batches/{batch_id}", client.key),
    }
    found = client.rounds(pages)
    (poll, poll_server), (trivial, trivial_server) = found["batch"], found["trivial"]
    figures = [
        Figure(
            "GET /batches/{id}",
            poll,
            "us",
            "trivial DRF view",
            trivial,
            "<= x2",
            poll <= 2 * trivial,
        ),
        Figure("GET /batches/{id}", poll, "us", "usual DRF shape", found["usual"][0]),
        Figure("GET /batches/{id}", poll, "us", "plain Django view", found["plain"][0]),
    ]
    if client.place.server:
        figures.append(
            Figure(
                "  PostgreSQL's own CPU for it",
                poll_server,
                "us",
                "trivial DRF view",
                trivial_server,
            )
        )
    return figures


def _lists(client: Client) -> list[Figure]:
    pages = {"list": ("/v1/batches?limit=20", client.key)}
    few = client.rounds(pages)["list"]
    client.place.run("benchmarks.rows", "copies", str(MANY - 100))
    many = client.rounds(pages)["list"]
    reached = many[0] <= 1.2 * few[0]
    figures = [
        Figure("list, 1,000,000 batches", many[0], "us", "100 batches", few[0], "<= x1.2", reached)
    ]
    if client.place.server:
        figures.append(
            Figure("  PostgreSQL's own CPU for it", many[1], "us", "100 batches", few[1])
        )
    return figures


def _files(client: Client, web: int) -> list[Figure]:
    source = client.place.directory / "upload.bin"
    line = os.urandom(500).hex().encode() + b"\n"
    source.write_bytes(line * (FILE_MB * 1_000_000 // len(line)))
    size = source.stat().st_size / 1e6
    up, down, copied = [], [], []
    for _ in range(TRANSFERS):
        file_id: list[str] = []
        up.append(client.cost(functools.partial(_upload, client, source, file_id))[0])
        down.append(client.cost(functools.partial(_download, client, file_id))[0])
        copied.append(_copy(source))
    held = max(cpu.peaks(web).values())
    in_rate, out_rate = size / min(up), size / min(down)
    return [
        Figure(
            "upload",
            in_rate,
            "MB/CPU s",
            "`cp` to disk and sync",
            size / min(copied),
            ">= 400",
            in_rate >= 400,
        ),
        Figure(
            "download",
            out_rate,
            "MB/CPU s",
            "`cp` to disk and sync",
            size / min(copied),
            ">= 1,000",
            out_rate >= 1000,
        ),
        Figure(
            "memory of the web process after them", held, "MB", target="< 300", reached=held < 300
        ),
    ]


def _upload(client: Client, source: Path, ids: list[str]) -> None:
    """Send the file as `curl -F` does; its id goes into `ids`."""
    url = f"http://127.0.0.1:{client.place.port}/v1/files"
    answer = subprocess.run(
        ["curl", "-sS", "-f", "-F", "purpose=evals", "-F", f"file=@{source}", "-H",
         f"Authorization: {client.key['Authorization']}", url],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    ids.append(answer.stdout.partition('"id":"')[2].partition('"')[0])


def _download(client: Client, ids: list[str]) -> None:
    url = f"http://127.0.0.1:{client.place.port}/v1/files/{ids[0]}/content"
    subprocess.run(
        ["curl", "-sS", "-f", "-o", "/dev/null", "-H", f"Authorization: {client.key['Authorization']}", url],
        check=True,
    )  # fmt: skip


def _copy(source: Path) -> float:
    """CPU seconds of copying the file and syncing it."""
    target = source.with_name(uuid.uuid4().hex)
    before = os.times()
    subprocess.run(["cp", source, target], check=True)
    subprocess.run(["sync", target], check=True)
    after = os.times()
    target.unlink()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
