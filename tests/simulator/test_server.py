"""The simulator's HTTP, spoken by hand, and the command that starts it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"


async def exchange(client, *pieces):
    """Everything the simulator says to the pieces, sent one by one, until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.server.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_pipelined_requests_are_answered_in_their_order(start_simulator):
    client = await start_simulator(latency="lognormal:0.02,1")
    requests = [
        HEAD + b"x-request-id: r%d\r\ncontent-length: %d\r\n\r\n" % (number, len(BODY) + number)
        + BODY + b" " * number
        for number in range(8)
    ]  # fmt: skip
    last = b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n"

    answer = await exchange(client, b"".join(requests) + last)

    ids = [line for line in answer.split(b"\r\n") if line.startswith(b"x-request-id")]
    assert ids == [b"x-request-id: r%d" % number for number in range(8)]
    assert answer.endswith(b'{"status":"ok","simulated":true}')


async def test_body_in_pieces_after_100_continue_is_read_whole(start_simulator):
    client = await start_simulator()
    head = HEAD + b"transfer-encoding: chunked\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:10], BODY[10:])]

    answer = await exchange(client, head, *pieces, b"0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_what_is_not_http_gets_a_400_and_a_closed_connection(start_simulator):
    client = await start_simulator()

    answer = await exchange(client, b"hello there\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_command_tells_its_address_and_ends_cleanly_on_sigterm(tmp_path):
    command = [
        sys.executable,
        "manage.py",
        "simulate_upstream",
        "--latency",
        "3600",
        "--tokens",
        "5",
    ]
    env = {**os.environ, "DATA_DIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("simulated upstream on http://127.0.0.1:")
        health = line.split()[-1].replace("/v1", "/health")
        with urllib.request.urlopen(health, timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    "option", [["--fail", "2"], ["--latency", "soon"], ["--port", "-5"]], ids=str
)
def test_command_refuses_an_option_out_of_range(tmp_path, option):
    command = [sys.executable, "manage.py", "simulate_upstream", *option]
    env = {**os.environ, "DATA_DIR": str(tmp_path)}

    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert "CommandError" in done.stderr


async def test_while_it_is_broken_every_call_is_counted_and_cut_off(start_simulator):
    client = await start_simulator(broken=True)
    request = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY

    assert await exchange(client, request) == b""
    assert (await client.stats())["by_status"] == {"444": 1}
    await client.set(broken=False)
    assert (await client.chat("hi"))[0] == 200
