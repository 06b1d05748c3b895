"""`.venv` is made whole or made again, by one process at a time, and left alone when it is whole."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import pytest

from tools import bootstrap

BOOTSTRAP = Path(bootstrap.__file__)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "requirements-dev.lock").write_text("")
    return tmp_path


@pytest.fixture
def steps(monkeypatch, project):
    """What an installation did, without doing it: `made` for the environment, and each lock for pip."""
    done = []

    def make(builder, directory):
        done.append("made")
        Path(directory).mkdir(exist_ok=True)
        for left in Path(directory).iterdir():
            left.unlink()

    monkeypatch.setattr(venv.EnvBuilder, "create", make)
    monkeypatch.setattr(bootstrap, "_run_pip", lambda root, lock: done.append(lock))
    return done


def test_real_environment_is_made_once_and_then_ready_at_once(project):
    command = [sys.executable, project / "tools/bootstrap.py"]
    (project / "tools").mkdir()
    (project / "tools/bootstrap.py").write_text(BOOTSTRAP.read_text())

    first = subprocess.run(command, capture_output=True, text=True, timeout=120)
    second = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert first.returncode == 0, first.stderr
    assert "Installed in" in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    python = project / ".venv/bin/python"
    assert (
        subprocess.run([python, "-m", "pip", "--version"], stdout=subprocess.DEVNULL).returncode
        == 0
    )


def test_whole_environment_is_left_alone(project, steps):
    bootstrap.prepare(project, dev=False)
    bootstrap.prepare(project, dev=False)

    assert steps == ["made", "requirements.lock"]


def test_development_packages_are_added_without_a_new_environment(project, steps):
    bootstrap.prepare(project, dev=False)
    bootstrap.prepare(project, dev=True)
    bootstrap.prepare(project, dev=False)

    assert steps == ["made", "requirements.lock", "requirements-dev.lock"]


def test_changed_lock_is_installed_again(project, steps):
    bootstrap.prepare(project, dev=False)
    (project / "requirements.lock").write_text("rich==15.0.0\n")
    bootstrap.prepare(project, dev=False)

    assert steps == ["made", "requirements.lock", "requirements.lock"]


def test_another_python_gets_another_environment(project, steps, monkeypatch):
    bootstrap.prepare(project, dev=False)
    monkeypatch.setattr(bootstrap, "THIS_PYTHON", "another 4.0")
    bootstrap.prepare(project, dev=False)

    assert steps == ["made", "requirements.lock"] * 2


def test_interrupted_installation_is_made_anew(project, steps, monkeypatch):
    def interrupted(root, lock):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_run_pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.prepare(project, dev=False)

    bootstrap.prepare(project, dev=False)

    assert steps == ["made", "made", "requirements.lock"]


def test_two_at_once_install_once(project, steps, monkeypatch):
    inside = threading.Event()

    def slow(root, lock):
        steps.append(lock)
        inside.set()
        time.sleep(0.3)

    monkeypatch.setattr(bootstrap, "_run_pip", slow)
    threads = [threading.Thread(target=bootstrap.prepare, args=(project,), kwargs={"dev": False})]
    threads[0].start()
    assert inside.wait(10)
    threads.append(
        threading.Thread(target=bootstrap.prepare, args=(project,), kwargs={"dev": False})
    )
    threads[1].start()
    for thread in threads:
        thread.join()

    assert steps == ["made", "requirements.lock"]


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_python_without_venv_is_told_what_to_install(project, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )

    with pytest.raises(bootstrap.Failed, match=missing) as refusal:
        bootstrap.prepare(project, dev=False)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install python{version}-venv" in str(refusal.value)
    assert not (project / ".venv").exists()


def test_pip_that_fails_is_quoted_and_leaves_no_stamp(project):
    (project / "requirements.lock").write_text("no such line\n")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/.stamp").write_text(f"{bootstrap.THIS_PYTHON}\nold\n")
    os.symlink(sys.executable, project / ".venv/bin/python")

    with pytest.raises(bootstrap.Failed, match="pip could not install"):
        bootstrap.prepare(project, dev=False)

    assert not (project / ".venv/.stamp").exists()
