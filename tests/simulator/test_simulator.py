"""What happens to calls: failures, overload, capacity, and the counts and log of it."""

import asyncio
import json

import pytest

from simulator.options import Options, parse_latency


async def until(condition, seconds=10):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.01)


async def test_share_of_failures_is_kept_and_a_retry_can_succeed(start_simulator):
    client, twin = [await start_simulator(fail=0.3) for _ in range(2)]

    first = [(await client.chat(f"prompt {number}"))[0] for number in range(200)]
    again = [(await twin.chat(f"prompt {number}"))[0] for number in range(200)]
    failed = [number for number, status in enumerate(first) if status == 500]
    retried = [(await client.chat(f"prompt {number}"))[0] for number in failed]

    assert 30 < len(failed) < 90
    assert first == again
    assert 0 < retried.count(200) < len(retried)


async def test_rejection_carries_retry_after(start_simulator):
    client = await start_simulator(reject=1, retry_after=2.5)

    body = {"model": "m", "messages": ["x"]}
    status, answer, response = await client.call("POST", "/v1/chat/completions", body)

    assert status == 429
    assert response.headers["retry-after"] == "2.5"
    assert answer["error"]["code"] == "rate_limit_exceeded"


async def test_beyond_capacity_the_queue_waits_and_the_rest_is_rejected(start_simulator):
    client = await start_simulator(capacity=2, queue=3, latency=0.2)

    answers = await asyncio.gather(*(client.chat(f"prompt {number}") for number in range(10)))

    assert sorted(status for status, _ in answers) == [200] * 5 + [429] * 5
    stats = await client.stats()
    assert stats["calls"] == 10
    assert stats["max_in_flight"] == 2
    assert stats["in_flight"] == stats["waiting"] == 0
    assert stats["call_seconds"] >= 0.99 * 5 * 0.2
    assert stats["by_status"] == {"200": 5, "429": 5}


async def test_caller_that_hangs_up_frees_its_place(start_simulator):
    client = await start_simulator(capacity=1, queue=1, latency=3600)
    served = asyncio.create_task(client.chat("first"))
    await until(lambda: _stat(client, "in_flight", 1))
    waiting = asyncio.create_task(client.chat("second"))
    await until(lambda: _stat(client, "waiting", 1))

    for task in (waiting, served):
        task.cancel()
    await asyncio.gather(served, waiting, return_exceptions=True)

    await until(lambda: _stat(client, "by_status", {"499": 2}))
    await client.set(latency=0)
    assert (await client.chat("third"))[0] == 200


async def test_call_whose_caller_hung_up_is_not_counted_again_when_its_time_comes(start_simulator):
    client = await start_simulator(latency=0.3)
    gone = asyncio.create_task(client.chat("first"))
    await until(lambda: _stat(client, "in_flight", 1))
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)

    await client.chat("second")  # as long as the first, and later: its time has come as well

    stats = await client.stats()
    assert stats["by_status"] == {"499": 1, "200": 1}
    assert stats["in_flight"] == 0


async def _stat(client, name, value):
    return (await client.stats())[name] == value


async def test_more_capacity_serves_those_that_wait(start_simulator):
    client = await start_simulator(capacity=0, queue=500)
    calls = [asyncio.create_task(client.chat(f"prompt {number}")) for number in range(50)]
    await until(lambda: _stat(client, "waiting", 50))

    await client.set(capacity=None)

    assert {status for status, _ in await asyncio.gather(*calls)} == {200}


@pytest.mark.parametrize(
    "change",
    [
        {"fail": 1.1},
        {"fail": "x"},
        {"unknown": 1},
        {"latency": "fast"},
        {"capacity": -1},
        {"seed": -1},
    ],
    ids=str,
)
async def test_wrong_setting_is_refused_and_changes_nothing(start_simulator, change):
    client = await start_simulator(fail=0.5)
    before = client.server.simulator.options

    status, answer, _ = await client.call("POST", "/settings", {"tokens": 3, **change})

    assert status == 400
    assert next(iter(change)) in answer["error"]["message"]
    assert client.server.simulator.options == before


async def test_log_tells_time_path_id_and_status_of_each_call(start_simulator, tmp_path):
    client = await start_simulator(log=str(tmp_path / "calls"), count_ids=True)

    await client.chat("one", **{"x-request-id": "a"})
    await client.chat("two", **{"x-request-id": "a"})
    await client.call("POST", "/v1/embeddings", b"{")
    await client.call("GET", "/v1/models")

    lines = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    chat = "/v1/chat/completions"
    seen = [(line["path"], line["x-request-id"], line["status"]) for line in lines]
    assert seen == [(chat, "a", 200), (chat, "a", 200), ("/v1/embeddings", "", 400)]
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]
    assert (await client.stats())["by_request_id"] == {"a": 2, "": 1}


async def test_health_and_models_are_no_calls(start_simulator):
    client = await start_simulator(models=["a", "b"], capacity=0)

    _, health, _ = await client.call("GET", "/health")
    _, models, _ = await client.call("GET", "/v1/models")

    assert health == {"status": "ok", "simulated": True}
    assert [model["id"] for model in models["data"]] == ["a", "b"]
    assert (await client.stats())["calls"] == 0


def test_lognormal_latency_has_its_median_and_spreads_around_it():
    latency = parse_latency("lognormal:0.2,0.5")

    assert latency.seconds(0.5) == pytest.approx(0.2)
    assert latency.seconds(0.16) < 0.15 < 0.3 < latency.seconds(0.84)
    assert parse_latency("0.2").seconds(0.01) == 0.2


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "1,2", "lognormal:1", "normal:1,2", "1e9"])
def test_odd_latency_is_refused(text):
    with pytest.raises(ValueError, match="latency"):
        parse_latency(text)


def test_an_answer_may_have_tokens_by_its_latency():
    even = Options(latency="lognormal:2,0.5", tokens=100)
    by_latency = even.changed({"proportional": True})

    assert [even.words(position) for position in (0.1, 0.5, 0.9)] == [100, 100, 100]
    assert [by_latency.words(position) for position in (0.1, 0.5, 0.9)] == [53, 100, 190]
    assert Options(tokens=7, proportional=True).words(0.9) == 7
