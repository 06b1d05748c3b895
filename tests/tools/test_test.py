"""`./run test` tells what ran, what was skipped and why, and its exit status is true."""

import os
import sys

import pytest

from tools import test as tool
from tools.test import Part, Report, environment, read_pytest_line, run_check, run_pytest


def report(*outcomes, skipped=0):
    made = Report([Part(outcome, outcome) for outcome in outcomes])
    made.skipped_tests["no browser"] += skipped
    if not skipped:
        made.skipped_tests.clear()
    return made


@pytest.mark.parametrize(
    ("made", "is_ok", "is_ok_if_required"),
    [
        (report("ran", "ran"), True, True),
        (report("ran", "skipped"), True, False),
        (report("ran", skipped=2), True, False),
        (report("failed", "ran"), False, False),
    ],
    ids=["all ran", "a part skipped", "tests skipped", "a part failed"],
)
def test_skip_is_a_failure_only_when_all_is_required(made, is_ok, is_ok_if_required):
    assert made.ok(require=False) is is_ok
    assert made.ok(require=True) is is_ok_if_required


def test_pytest_lines_are_understood():
    made = Report()
    for line in (
        "SKIPPED [3] tests/x.py:7: no PostgreSQL",
        "SKIPPED [2] tests/y.py: no PostgreSQL",
        "SKIPPED [1] tests/z.py:1: no browser",
        "============ 12 passed, 6 skipped in 3.45s =============",
        "the text 5 passed in a test's output is no summary",
    ):
        read_pytest_line(line, made)

    assert made.skipped_tests == {"no PostgreSQL": 5, "no browser": 1}
    assert made.pytest_summary == "12 passed, 6 skipped in 3.45s"


def test_pytest_is_run_and_its_outcome_noted(tmp_path, capfd):
    file = tmp_path / "test_sample.py"
    file.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_sail(): pytest.importorskip('sails', reason='no wind')\n"
    )
    made = Report()

    env = {
        **os.environ,
        "PYTEST_ADDOPTS": f"-c {os.devnull} --rootdir {tmp_path} -p no:randomly -ra",
    }
    run_pytest("tests", [str(file), "-n", "0"], env, made)

    assert made.parts[0].outcome == "failed"
    assert made.skipped_tests == {"no wind": 1}
    assert made.pytest_summary.startswith("1 failed, 1 passed, 1 skipped in ")
    assert "test_bad" in capfd.readouterr().out


def test_output_of_a_check_is_shown_only_if_it_fails(capfd):
    good = run_check("good", [sys.executable, "-c", "print('fine')"], dict(os.environ))
    bad = run_check(
        "bad", [sys.executable, "-c", "print('line 3 is odd'); exit(4)"], dict(os.environ)
    )

    assert (good.outcome, bad.outcome, bad.note) == ("ran", "failed", "exit status 4")
    shown = capfd.readouterr().out
    assert "fine" not in shown
    assert "line 3 is odd" in shown


def test_tests_see_nothing_of_the_callers_installation(monkeypatch):
    for name in ("DATABASE_URL", "STORAGE_DIR", "UPSTREAM_BASE_URL", "UPSTREAM_API_KEY"):
        monkeypatch.setenv(name, "precious")

    on_sqlite = environment("scratch", "")
    on_postgres = environment("scratch", "postgres://x")

    assert "precious" not in on_sqlite.values()
    assert on_sqlite["DATA_DIR"] == "scratch"
    assert on_postgres["DATABASE_URL"] == on_postgres["TEST_DATABASE_URL"] == "postgres://x"


def test_without_postgres_its_tests_are_skipped_with_the_reason(monkeypatch):
    def absent():
        raise tool.Absent("no initdb here")

    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    monkeypatch.setattr(tool, "temporary_postgres", absent)
    monkeypatch.setattr(tool, "checks", lambda scratch: {})
    arguments = tool.argparse.Namespace(postgres=True, require=True)

    made = tool.run_all(arguments, [])

    assert [(part.outcome, part.note) for part in made.parts] == [("skipped", "no initdb here")]
    assert not made.ok(require=True)
