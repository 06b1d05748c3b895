"""What a client that kept its own books may demand of an ended batch, read from bytes alone."""

import dataclasses
import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.processes import PYTHON, ROOT

RUN = "completed"
KEPT = "every promise is kept."  # what verify_batch says of a batch that is well
ASKED_AGAIN = frozenset(
    {429, 500}
)  # answers of the simulator after which a line is called once more


@dataclasses.dataclass
class Findings:
    """Lines looked at, and what was wrong with them."""

    lines: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def are_none(self) -> bool:
        return not (self.lost or self.doubled or self.problems)


def prompt(custom_id: str) -> str:
    return f"Say {custom_id} once."


def request_lines(custom_ids: Iterable[str], refused: set[str]) -> bytes:
    """The input file: a chat for each id; those of `refused` have no message, which the simulator refuses."""
    lines = []
    for custom_id in custom_ids:
        messages = [{"role": "user", "content": prompt(custom_id)}]
        body = {"model": "simulated", "messages": [] if custom_id in refused else messages}
        frame = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
        lines.append(json.dumps(frame | {"body": body}).encode() + b"\n")
    return b"".join(lines)


def check_results(
    content: bytes, status: str, counts: Sequence[int], output: bytes, errors: bytes
) -> Findings:
    """Hold the result files of a batch against its input. `counts`: completed, failed, total."""
    asked = {line["custom_id"]: line["body"] for line in map(json.loads, content.splitlines())}
    answered = [json.loads(line) for line in output.splitlines()]
    failed = [json.loads(line) for line in errors.splitlines()]
    seen = Counter(line["custom_id"] for line in [*answered, *failed])
    found = Findings(lines=len(asked))
    found.lost = sum(not seen[custom_id] for custom_id in asked)
    found.doubled = sum(count - 1 for count in seen.values())
    if unknown := sorted(set(seen) - set(asked)):
        found.problems.append(f"nobody asked for {unknown[0]}")
    if tuple(counts) != (len(answered), len(failed), len(asked)):
        found.problems.append(f"counts are {counts}, files hold {len(answered)} + {len(failed)}")
    places = {custom_id: place for place, custom_id in enumerate(asked)}
    for lines in (answered, failed):
        order = [places.get(line["custom_id"], -1) for line in lines]
        if order != sorted(order):
            found.problems.append("results are not in the order of the input")
    found.problems += _wrong_answers(answered)
    found.problems += _wrong_errors(asked, failed, status)
    return found


def _wrong_answers(answered: list[dict[str, Any]]) -> Iterator[str]:
    for line in answered:
        said = line["response"]["body"]["choices"][0]["message"]["content"]
        if f'"{prompt(line["custom_id"])}"' not in said:
            yield f"{line['custom_id']} got the answer of another line"


def _wrong_errors(
    asked: dict[str, Any], failed: list[dict[str, Any]], status: str
) -> Iterator[str]:
    for line in failed:
        refused = not asked.get(line["custom_id"], {}).get("messages")
        code = line["error"]["code"] if line["error"] else line["response"]["status_code"]
        expected: set[object] = {400} if refused else set()
        if status != RUN:
            expected |= {f"batch_{status}"}
        if code not in expected:
            yield f"{line['custom_id']} failed with {code} in a batch that is {status}"


def repeated_calls(log: Path) -> tuple[int, int]:
    """Calls of the simulator's log, and how many of them no answer had asked for."""
    calls: Counter[str] = Counter()
    asked_again: Counter[str] = Counter()
    for entry in map(json.loads, log.read_text().splitlines()):
        line = entry["x-request-id"].rpartition(":")[0]
        calls[line] += 1
        asked_again[line] += entry["status"] in ASKED_AGAIN
    repeated = sum(max(0, count - 1 - asked_again[line]) for line, count in calls.items())
    return sum(calls.values()), repeated


def verify(batches: list[str]) -> list[str]:
    """What `verify_batch` has to object, from the rows and the stored bytes."""
    if not batches:
        return ["no batch was submitted"]
    command = [PYTHON, "manage.py", "verify_batch", *batches]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if not done.returncode:
        return []
    broken = [line for line in done.stdout.splitlines() if not line.endswith(KEPT)]
    return [f"verify_batch: {line}" for line in broken] or [f"verify_batch: {done.stderr}"]
