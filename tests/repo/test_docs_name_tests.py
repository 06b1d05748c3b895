"""Every test that the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ("faults.md", "guarantees.md")
NAMED = re.compile(r"`(tests/[\w/]*|test_\w+(?:\.py)?)(?:\.py)?(?:::(test_\w+))?`")


def missing(line: str) -> list[str]:
    """What a line names and nobody finds. A bare `test_x.py` is beside the file named before it."""
    gone = []
    directory = ROOT
    for path, test in NAMED.findall(line):
        whole = ROOT / path if path.startswith("tests/") else directory / path
        if not whole.is_dir():
            whole = whole.with_suffix(".py")
            directory = whole.parent
        else:
            directory = whole
        found = whole.exists() and (not test or f"def {test}(" in whole.read_text())
        if not found:
            gone.append(f"{path} {test}".strip())
    return gone


@pytest.mark.parametrize("name", DOCS)
def test_named_tests_exist(name: str) -> None:
    lines = (ROOT / "docs" / name).read_text().splitlines()
    assert [gone for line in lines for gone in missing(line)] == []
    assert sum(len(NAMED.findall(line)) for line in lines) > 20


def test_what_is_missing_is_found() -> None:
    assert missing("`tests/repo/test_sizes.py`, `test_nothing.py`") == ["test_nothing.py"]
    assert missing("`tests/repo/test_sizes.py::test_nothing`") == [
        "tests/repo/test_sizes test_nothing"
    ]
    assert missing("every test in `tests/e2e`; `tests/repo/test_sizes.py`") == []
