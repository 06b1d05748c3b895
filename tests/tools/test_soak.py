"""The soak's own eyes: a result that is missing, doubled, out of place or another line's is seen."""

import json

import pytest

from tools.soak_check import check_results, repeated_calls, request_lines
from tools.soak_lines import check, write_input

IDS = ["a", "b", "c"]


def answer(custom_id, said=None):
    body = {
        "choices": [{"message": {"content": f'Answer to "Say {said or custom_id} once.": yes'}}]
    }
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


def refusal(custom_id, code):
    return {"custom_id": custom_id, "response": None, "error": {"code": code}}


def lines(results):
    return b"".join(json.dumps(result).encode() + b"\n" for result in results)


def held_against(output, errors=(), status="completed", refused=frozenset(), counts=None):
    counts = counts or (len(output), len(errors), len(IDS))
    asked = request_lines(IDS, set(refused))
    return check_results(asked, status, counts, lines(output), lines(errors))


def test_whole_results_are_found_whole():
    found = held_against([answer("a"), answer("c")], [refusal("b", "batch_cancelled")], "cancelled")
    assert (found.lines, found.lost, found.doubled, found.problems) == (3, 0, 0, [])


@pytest.mark.parametrize(
    ("output", "lost", "doubled", "problem"),
    [
        ([answer("a"), answer("c")], 1, 0, "counts are"),
        ([answer("a"), answer("b"), answer("b"), answer("c")], 0, 1, "counts are"),
        ([answer("a"), answer("c"), answer("b")], 0, 0, "not in the order"),
        ([answer("a"), answer("b", said="a"), answer("c")], 0, 0, "answer of another line"),
        ([answer("a"), answer("b"), answer("c"), answer("z")], 0, 0, "nobody asked for z"),
    ],
)
def test_what_is_wrong_is_seen(output, lost, doubled, problem):
    found = held_against(output, counts=(3, 0, 3))
    assert (found.lost, found.doubled) == (lost, doubled)
    assert any(problem in text for text in found.problems)


@pytest.mark.parametrize("code", ["internal_error", "batch_cancelled", "worker_crash"])
def test_a_line_that_failed_without_a_reason_is_seen(code):
    found = held_against([answer("a"), answer("b")], [refusal("c", code)])
    assert [text for text in found.problems if code in text]


def test_only_calls_that_no_answer_asked_for_count_as_repeated(tmp_path):
    log = tmp_path / "calls"
    calls = [("1:1", 200), ("2:1", 500), ("2:2", 429), ("2:3", 200), ("3:1", 499), ("3:1", 200)]
    entries = [{"x-request-id": f"batch:{call}", "status": status} for call, status in calls]
    log.write_bytes(lines(entries))
    assert repeated_calls(log) == (6, 1)


def checked(directory, ids, errors=(), said=None):
    (directory / "output").write_bytes(lines(answer(f"line-{n}", said) for n in ids))
    (directory / "errors").write_bytes(lines(errors))
    return check(4, directory / "output", directory / "errors")


def test_a_whole_big_batch_is_found_whole(tmp_path):
    found = checked(tmp_path, range(4))
    assert (found.lines, found.are_none()) == (4, True)


@pytest.mark.parametrize(
    ("ids", "lost", "doubled", "problem"),
    [
        ([0, 1, 3], 1, 0, ""),
        ([0, 1, 1, 2, 3], 0, 1, ""),
        ([0, 2, 1, 3], 0, 0, "line-1 comes after line-2"),
        ([0, 1, 2, 3, 9], 0, 0, "nobody asked for line-9"),
    ],
)
def test_what_is_wrong_in_a_big_batch_is_seen(tmp_path, ids, lost, doubled, problem):
    found = checked(tmp_path, ids)
    assert (found.lost, found.doubled, found.are_none()) == (lost, doubled, False)
    assert problem in " ".join(found.problems)


def test_errors_and_wrong_answers_in_a_big_batch_are_seen(tmp_path):
    found = checked(tmp_path, range(4), [refusal("line-3", "internal_error")], said="line-0")
    assert len(found.problems) == 4


def test_a_big_input_has_each_line_once(tmp_path):
    write_input(tmp_path / "input", 20_001)
    ids = [json.loads(line)["custom_id"] for line in (tmp_path / "input").read_text().splitlines()]
    assert ids == [f"line-{n}" for n in range(20_001)]
