"""Whatever can be set is written down where people look for it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READ = re.compile(r"""\benv\.\w+\(\s*"(\w+)\"""")
SETTINGS = (ROOT / "config" / "settings.py").read_text()
VARIABLES = sorted(set(READ.findall(SETTINGS)))
WORDS = re.compile(r"\b[A-Z][A-Z0-9_]+\b")


def test_the_variables_are_found() -> None:
    assert SETTINGS.count("env.") - SETTINGS.count("env.seal()") == len(READ.findall(SETTINGS))
    assert {"DATABASE_URL", "UPSTREAM_BASE_URL"} <= set(VARIABLES)


@pytest.mark.parametrize("document", ["docs/configuration.md", ".env.example"])
def test_every_variable_is_documented(document: str) -> None:
    told = set(WORDS.findall((ROOT / document).read_text()))
    assert sorted(set(VARIABLES) - told) == []


def test_the_example_names_no_variable_that_is_not_read() -> None:
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#?\s*([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    assert sorted(named - set(VARIABLES)) == []
