"""Secrets and texts stay where they belong: canaries are sent through the whole service, then looked for."""

import time

import openai

from tests.contract.lines import CHAT, request_line
from tests.support.stack import Stack

PROMPT = "prompt-canary-3f9a"
FAILING = "failing-canary-81c2"
WRONG_KEY = "lsk_0123456789ab_" + "w" * 43
ENDS = {"completed", "failed", "expired", "cancelled"}


def test_no_prompt_answer_or_key_is_in_a_log_or_in_the_database(
    service: Stack, client: openai.OpenAI, shared_key: str
) -> None:
    content = request_line(0, messages=[{"role": "user", "content": PROMPT}])
    content += request_line(1, messages=[], user=FAILING)  # the upstream refuses it
    content += b'{"custom_id": "%s"\n' % FAILING.encode()
    good = content.rpartition(b'{"custom_id"')[0]

    assert run(client, good) == "completed"
    assert run(client, content) == "failed"
    refuse(service)

    assert shared_key not in everything_written(service)
    assert WRONG_KEY not in everything_written(service)
    assert PROMPT not in everything_written(service)
    assert FAILING not in everything_written(service)


def run(client: openai.OpenAI, content: bytes) -> str:
    file = client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    deadline = time.monotonic() + 60
    while batch.status not in ENDS:
        assert time.monotonic() < deadline, f"still {batch.status}"
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch.status


def refuse(service: Stack) -> None:
    try:
        openai.OpenAI(base_url=f"{service.url}/v1", api_key=WRONG_KEY).files.list()
    except openai.AuthenticationError:
        return
    raise AssertionError("a wrong key was let in")


def everything_written(service: Stack) -> str:
    """Every log, and everything in the database; not the storage, where texts belong."""
    directory = service.installation.directory
    logs = [path for path in directory.iterdir() if path.is_file()]
    texts = [path.read_bytes().decode("latin-1") for path in logs]
    return "\n".join([*texts, service.installation.manage("dumpdata")])
