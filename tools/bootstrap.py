"""Makes `.venv` from the lock files and leaves it alone when it is whole. Runs on a bare Python: stdlib only.

`.venv/.stamp` is removed before and written after everything else, so an interrupted installation is
made anew by the next run. A lock on the project's directory lets one process at a time do it.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    False: ["requirements.lock"],
    True: ["requirements.lock", "requirements-dev.lock"],
}  # by `dev`
THIS_PYTHON = f"{sys.base_prefix} {sys.version}".replace("\n", " ")


class Failed(Exception):
    """Says what is missing and what to do about it."""


def prepare(root: Path, *, dev: bool) -> None:
    """Return when `.venv` holds what the lock files name, the development ones too for `dev`.

    Raises:
        Failed: it cannot be made here.
    """
    if _is_whole(root, dev):
        return
    with _alone(root):
        if not _is_whole(root, dev):  # another process may have done it meanwhile
            _install(root, dev)


def _stamp(root: Path, dev: bool) -> Path:
    return root / ".venv" / (".stamp-dev" if dev else ".stamp")


def _wanted(root: Path, dev: bool) -> str:
    locks = b"".join((root / name).read_bytes() for name in LOCKS[dev])
    return f"{THIS_PYTHON}\n{hashlib.sha256(locks).hexdigest()}\n"


def _is_whole(root: Path, dev: bool) -> bool:
    stamp = _stamp(root, dev)
    return stamp.exists() and stamp.read_text() == _wanted(root, dev)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another ./run that is installing", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which also unlocks


def _install(root: Path, dev: bool) -> None:
    stamp = _stamp(root, dev=False)
    can_keep = stamp.exists() and stamp.read_text().startswith(THIS_PYTHON)
    for each in (False, True):
        _stamp(root, each).unlink(missing_ok=True)
    started = time.monotonic()
    if not can_keep:
        _make_environment(root)
    name = LOCKS[dev][-1]
    print(f"Installing {name} into .venv; the first time takes a minute or two", file=sys.stderr)
    _run_pip(root, name)
    for each in {False, dev}:
        _stamp(root, each).write_text(_wanted(root, each))
    print(f"Installed in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _make_environment(root: Path) -> None:
    missing = [name for name in ("venv", "ensurepip") if not importlib.util.find_spec(name)]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    remedy = f"Install it, for example with\n    apt-get install python{version}-venv\nand start ./run again."
    if missing:
        raise Failed(f"{sys.executable} comes without {' and '.join(missing)}. {remedy}")
    print(f"Making .venv with Python {version}", file=sys.stderr)
    try:
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(root / ".venv")
    except subprocess.CalledProcessError as reason:
        raise Failed(f"{sys.executable} cannot put pip into .venv: {reason}. {remedy}") from reason


def _run_pip(root: Path, lock: str) -> None:
    command = [str(root / ".venv/bin/python"), "-m", "pip", "install", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off", "-r", str(root / lock)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-20:])
        raise Failed(f"pip could not install {lock}. It said:\n{last}")


if __name__ == "__main__":
    try:
        prepare(ROOT, dev=sys.argv[1:] in (["test"], ["bench"]))
    except Failed as reason:
        sys.exit(f"./run: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)
