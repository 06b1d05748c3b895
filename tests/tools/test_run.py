"""The shell part of `./run`: finds a Python, knows its commands, says what is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "run"


@pytest.fixture
def project(tmp_path):
    """A copy of `./run` with a bootstrap that tells its Python and command, and a PATH to fill."""
    shutil.copy(RUN, tmp_path / "run")
    (tmp_path / "tools").mkdir()
    telling = "import sys; print('bootstrap', sys.argv[1], flush=True); sys.exit(9)"
    (tmp_path / "tools/bootstrap.py").write_text(telling)
    path = tmp_path / "path"
    path.mkdir()
    for needed in ("sh", "dirname", "cat"):
        (path / needed).symlink_to(shutil.which(needed))
    return tmp_path


def run(project, *arguments, **environment):
    env = {"PATH": str(project / "path"), **environment}
    command = [str(project / "run"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)


def add_python(project, name, *, minor):
    """A Python by that name, which says that it is 3.`minor` and tells when it runs a file."""
    script = project / "path" / name
    asked = f"import sys; sys.version_info = (3, {minor}, 0); exec(sys.argv[1])"
    script.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = -c ] && exec {sys.executable} -c \'{asked}\' "$2"\n'
        f'echo {name}\nexec {sys.executable} "$@"\n'
    )
    script.chmod(0o755)


def test_it_is_valid_posix_shell():
    shells = [shell for shell in ("sh", "dash", "bash") if shutil.which(shell)]

    assert "sh" in shells
    for shell in shells:
        assert subprocess.run([shell, "-n", RUN]).returncode == 0


def test_without_python_it_names_the_packages(project):
    done = run(project)

    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


def test_too_old_python_is_passed_over(project):
    add_python(project, "python3", minor=10)
    add_python(project, "python3.12", minor=11)

    done = run(project)

    assert done.stdout.splitlines() == ["python3.12", "bootstrap demo"]


def test_python_of_the_variable_is_used_or_refused(project):
    add_python(project, "python3", minor=11)
    add_python(project, "mine", minor=11)
    add_python(project, "old", minor=10)

    assert "mine" in run(project, PYTHON="mine").stdout.splitlines()
    refused = run(project, PYTHON="old")
    assert refused.returncode == 1
    assert "PYTHON=old is not a Python of 3.11 or newer" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [([], "demo"), (["demo"], "demo"), (["--model", "x"], "demo"), (["up"], "up"), (["test", "-k", "x"], "test"),
     (["soak", "--minutes", "1"], "soak"), (["manage", "migrate"], "manage")],
    ids=str,
)  # fmt: skip
def test_command_is_understood_and_a_failed_bootstrap_ends_it(project, arguments, command):
    add_python(project, "python3", minor=11)

    done = run(project, *arguments)

    assert done.stdout.splitlines()[-1] == f"bootstrap {command}"
    assert done.returncode == 9


def test_unknown_command_is_refused_with_the_usage(project):
    done = run(project, "lunch")

    assert done.returncode == 2
    assert "no command 'lunch'" in done.stderr
    assert "./run test" in done.stderr


def test_help_needs_no_python(project):
    done = run(project, "--help")

    assert done.returncode == 0
    assert "./run up" in done.stdout
