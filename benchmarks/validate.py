"""`validate`: MB of input checked in one CPU second, and the memory it takes, beside simpler ways to read the same file.

Run as a module it is one such process, inside an installation.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable

from benchmarks.figures import Figure, Section
from benchmarks.stage import stage

ABOUT = (
    "The whole step, from the file in the storage to the shards in the database (SQLite), with every check: UTF-8, JSON, "
    "shape, keys given twice, depth, duplicate ids, the file's hash. Its input: the lines of `line` (1 KB), 4 KB ones, "
    "and 1,000,000 lines of 1.08 KB. Beside it, each a process of its own over the same file: reading and hashing, "
    "`msgspec` decoding of the frame alone, and `json.loads` of each line."
)
ROUNDS = 5
PEERS = ("hash", "msgspec", "json")
NAMES = {"hash": "read + SHA-256", "msgspec": "msgspec, no checks", "json": "json.loads"}


def measure(_servers: dict[str, str]) -> list[Section]:
    with stage() as place:
        run = "benchmarks.validate"
        figures = []
        for name, lines, body in (("1 KB lines", 50_000, 850), ("4 KB lines", 12_500, 3600)):
            size = place.run(run, "prepare", str(lines), str(body)) / 1e6
            found = max(size / place.run(run, "validate")["seconds"] for _ in range(ROUNDS))
            for peer in PEERS:
                other = max(size / place.run(run, peer)["seconds"] for _ in range(ROUNDS))
                figures.append(Figure(name, found, "MB/CPU s", NAMES[peer], other))
            figures.append(
                Figure(name, found, "MB/CPU s", "the limit", 150, ">= 150", found >= 150)
            )
        size = place.run(run, "prepare", "1000000", "880") / 1e6
        found = place.run(run, "validate")
        rate, held = size / found["seconds"], found["mb"]
        figures += [
            Figure(
                f"1,000,000 lines, {size:,.0f} MB",
                rate,
                "MB/CPU s",
                "the limit",
                150,
                ">= 150",
                rate >= 150,
            ),
            Figure("memory for it", held, "MB", "the limit", 300, "< 300", held < 300),
        ]
    return [Section("validate", ABOUT, figures)]


# One process, inside an installation


def prepare(lines: int, body_bytes: int) -> int:
    """Put a batch of so many lines into the installation, validating; returns its bytes."""
    from benchmarks.rows import new_batch  # noqa: PLC0415 I001 - it sets Django up, so it comes first
    from batches.models import Status, Upstream  # noqa: PLC0415
    from files.content import save_blob, save_file, store  # noqa: PLC0415
    from files.models import File, Purpose  # noqa: PLC0415

    Upstream.objects.get_or_create(name="bench", defaults={"base_url": "http://127.0.0.1:1/v1"})
    said = "Say something about harbours and ships, and then about the weather over them.\n"
    content = (said * (body_bytes // len(said) + 1))[:body_bytes]
    body = {"model": "simulated", "messages": [{"role": "user", "content": content}]}
    request = {"custom_id": "request-%d", "method": "POST", "url": "/v1/chat/completions"}
    line = json.dumps(request | {"body": body}).encode() + b"\n"
    stored = store(line % number for number in range(lines))
    batch = new_batch(status=Status.VALIDATING)
    file = File(
        account=batch.account, filename="in.jsonl", purpose=Purpose.BATCH, sha256=stored.sha256
    )
    save_file(file, [save_blob(stored)])
    batch.input_file = batch.held_file = file
    batch.save()
    return stored.bytes


def work(what: str) -> Callable[[], object]:
    from benchmarks.rows import newest_batch  # noqa: PLC0415 I001 - it sets Django up, so it comes first
    from batches.models import Batch, Status  # noqa: PLC0415
    from batches.validation import validate  # noqa: PLC0415
    from benchmarks import reading  # noqa: PLC0415

    batch = newest_batch()
    if what == "validate":
        batch.shards.all().delete()
        Batch.objects.filter(pk=batch.pk).update(status=Status.VALIDATING)
        return lambda: validate(batch.pk)
    return lambda: getattr(reading, f"by_{what}")(batch.held_file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["prepare", "validate", *PEERS])
    parser.add_argument("numbers", nargs="*", type=int)
    options = parser.parse_args()
    if options.what == "prepare":
        json.dump(prepare(*options.numbers), sys.stdout)
        return
    task = work(options.what)
    before = time.process_time()
    task()
    spent = time.process_time() - before
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"seconds": spent, "mb": held}, sys.stdout)


if __name__ == "__main__":
    main()
