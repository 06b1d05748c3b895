"""What a command starts never outlives it, and an early end is explained."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.support.processes import wait_for
from tools import processes
from tools.processes import Children, Failed, free_port, signals_as_interrupts


def script(text):
    return [sys.executable, "-u", "-c", text]


def is_alive(pid):
    """Whether it runs; an orphan nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


GRANDCHILD = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('started', child.pid, flush=True)\n"
    "time.sleep(600)\n"
)


@pytest.mark.parametrize("reason", [None, KeyboardInterrupt, Failed])
def test_stubborn_child_and_its_own_child_end_with_the_block(tmp_path, monkeypatch, reason):
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.2)
    pids = []

    def block():
        with Children(tmp_path, os.environ) as children:
            child = children.start("stubborn", script(GRANDCHILD))
            pids.append(int(child.wait_for_line("started", 20).split()[1]))
            if reason:
                raise reason

    if reason:
        with pytest.raises(reason):
            block()
    else:
        block()

    wait_for(lambda: not is_alive(pids[0]), "the end of the grandchild")


def test_child_is_asked_before_it_is_killed(tmp_path):
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('goodbye'), sys.exit(3)))\n"
        "print('ready')\n"
        "time.sleep(600)\n"
    )
    with Children(tmp_path, os.environ) as children:
        child = children.start("polite", script(text))
        child.wait_for_line("ready", 20)

    assert child.status == 3
    assert (tmp_path / "polite.log").read_text() == "ready\ngoodbye\n"


def test_child_that_ends_early_is_told_with_its_last_lines(tmp_path):
    with Children(tmp_path, os.environ) as children:
        children.start("steady", script("import time; time.sleep(600)"))
        children.check()
        child = children.start(
            "broken", script("print('line 1'); raise SystemExit('no such table')")
        )
        wait_for(lambda: child.status is not None, "the end of the child")

        with pytest.raises(Failed) as told:
            children.check()

    assert "broken ended with status 1" in str(told.value)
    assert "no such table" in str(told.value)
    assert str(tmp_path / "broken.log") in str(told.value)


def test_waiting_for_a_line_ends_with_the_child(tmp_path):
    with Children(tmp_path, os.environ) as children:
        child = children.start("silent", script("pass"))

        with pytest.raises(Failed, match="silent ended with status 0"):
            child.wait_for_line("never", 60)


def test_each_line_is_echoed(tmp_path):
    echoed = []
    with Children(
        tmp_path, os.environ, lambda name: lambda line: echoed.append((name, line))
    ) as children:
        child = children.start("talker", script("print('a'); print('b')"))
        wait_for(lambda: len(echoed) == 2, "both lines")
        assert child.last_lines == ["a", "b"]

    assert echoed == [("talker", "a\n"), ("talker", "b\n")]


def test_sigterm_ends_a_block_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), signals_as_interrupts():
        signal.raise_signal(signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is before


def test_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]

        assert first < free_port(first) < first + 100
