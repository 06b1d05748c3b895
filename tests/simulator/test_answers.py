"""What the simulator answers: simulated and saying so, repeatable, in OpenAI's shapes."""

import array
import base64
import json
import math
import zlib

import openai
import pytest

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
IMAGES = "/v1/images/generations"


async def test_chat_answer_calls_itself_simulated(start_simulator):
    client = await start_simulator()
    body = {
        "model": "some-model",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }

    status, answer, response = await client.call("POST", CHAT, body, **{"x-request-id": "line-7"})

    assert status == 200
    assert answer["model"] == "some-model"
    assert answer["system_fingerprint"] == "simulated"
    content = answer["choices"][0]["message"]["content"]
    assert content.startswith('Simulated answer to "Why is the sky blue?"')
    assert response.headers["x-simulated"] == "true"
    assert response.headers["x-request-id"] == "line-7"


async def test_usage_counts_the_words_of_prompt_and_answer(start_simulator):
    client = await start_simulator(tokens=100)

    _, answer = await client.chat("three short words")

    written = len(answer["choices"][0]["message"]["content"].split())
    assert written > 100
    assert answer["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": written,
        "total_tokens": 3 + written,
        "counted_as": "words",
    }


async def test_equal_requests_get_equal_answers_and_another_seed_another(start_simulator):
    client, twin, other = [await start_simulator(seed=seed) for seed in (1, 1, 2)]

    answers = [await each.chat("hello") for each in (client, client, twin, other)]

    assert answers[0] == answers[1] == answers[2]
    assert answers[3] != answers[0]


async def test_embedding_is_a_unit_vector_of_its_text_alone(start_simulator):
    client = await start_simulator()
    both = {"model": "e", "input": ["harbour", "crane"], "dimensions": 17}

    _, answer, _ = await client.call("POST", EMBEDDINGS, both)
    _, alone, _ = await client.call("POST", EMBEDDINGS, {**both, "input": "crane"})

    vectors = [row["embedding"] for row in answer["data"]]
    assert [len(vector) for vector in vectors] == [17, 17]
    assert all(math.isclose(math.hypot(*vector), 1) for vector in vectors)
    assert vectors[1] == alone["data"][0]["embedding"] != vectors[0]
    assert answer["usage"]["prompt_tokens"] == 2


async def test_embedding_in_base64_holds_the_same_floats(start_simulator):
    client = await start_simulator()
    body = {"model": "e", "input": "tide", "dimensions": 4}

    _, plain, _ = await client.call("POST", EMBEDDINGS, body)
    _, packed, _ = await client.call("POST", EMBEDDINGS, {**body, "encoding_format": "base64"})

    floats = array.array("f", base64.b64decode(packed["data"][0]["embedding"]))
    assert floats.tolist() == pytest.approx(plain["data"][0]["embedding"], rel=1e-6)


async def test_image_is_a_real_png_and_called_simulated(start_simulator):
    client = await start_simulator()

    _, answer, _ = await client.call("POST", IMAGES, {"model": "i", "prompt": "a boat", "n": 2})

    assert answer["simulated"] is True
    pictures = [base64.b64decode(row["b64_json"]) for row in answer["data"]]
    assert len(set(pictures)) == 2
    for picture in pictures:
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        start = picture.index(b"IDAT")
        pixels = zlib.decompress(picture[start + 4 :])
        assert len(pixels) == 8 * (1 + 8 * 3)


async def test_unmodified_openai_sdk_reads_every_answer(start_simulator):
    simulator = await start_simulator(models=["small", "large"])
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="any") as client:
        models = [model.id async for model in client.models.list()]
        chat = await client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": "hi"}]
        )
        vector = await client.embeddings.create(model="small", input="hi", dimensions=3)
        image = await client.images.generate(model="small", prompt="hi")

    assert models == ["small", "large"]
    assert chat.choices[0].message.content.startswith("Simulated answer")
    assert len(vector.data[0].embedding) == 3
    assert image.data[0].b64_json


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param", "code"),
    [
        ("POST", CHAT, b'{"model": "m", "mess', 400, None, None),
        ("POST", CHAT, b'{"model": "\xff"}', 400, None, None),
        ("POST", CHAT, b"[" * 100_000, 400, None, None),
        ("POST", CHAT, b"[1]", 400, None, None),
        ("POST", CHAT, b"", 400, None, None),
        ("POST", CHAT, {"messages": [{"role": "user", "content": "x"}]}, 400, "model", None),
        ("POST", CHAT, {"model": 7, "messages": ["x"]}, 400, "model", None),
        ("POST", CHAT, {"model": "m"}, 400, "messages", None),
        ("POST", CHAT, {"model": "m", "messages": []}, 400, "messages", None),
        ("POST", CHAT, {"model": "m", "messages": ["x"], "n": 0}, 400, "n", None),
        ("POST", CHAT, {"model": "m", "messages": ["x"], "stream": True}, 400, "stream", None),
        ("POST", CHAT, {"model": "x", "messages": ["x"]}, 404, "model", "model_not_found"),
        ("POST", EMBEDDINGS, {"model": "m"}, 400, "input", None),
        ("POST", EMBEDDINGS, {"model": "m", "input": []}, 400, "input", None),
        (
            "POST",
            EMBEDDINGS,
            {"model": "m", "input": "x", "dimensions": 0},
            400,
            "dimensions",
            None,
        ),
        ("POST", IMAGES, {"model": "m"}, 400, "prompt", None),
        ("POST", "/v1/nowhere", {}, 404, None, "unknown_url"),
        ("GET", CHAT, None, 404, None, "unknown_url"),
    ],
)
async def test_bad_request_is_refused_in_openai_shape(
    start_simulator, method, path, body, status, param, code
):
    client = await start_simulator(models=["m"])

    answered, answer, _ = await client.call(method, path, body)

    assert answered == status
    assert answer["error"]["message"]
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"]["param"], answer["error"]["code"]) == (param, code)


async def test_lone_surrogate_in_a_prompt_is_taken_as_real_servers_take_it(start_simulator):
    client = await start_simulator()
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "cut \ud83d"}]}
    ).encode()

    status, answer, _ = await client.call("POST", CHAT, body)

    assert status == 200
    assert "Simulated" in answer["choices"][0]["message"]["content"]
