"""Python in a process of its own, on the test's database and storage."""

import os
import subprocess
import sys

from django.conf import settings
from django.db import connection

from tests.support.processes import ROOT


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Start Python code that finds Django set up. The test's rows must be committed."""
    name = str(connection.settings_dict["NAME"])
    server = os.environ["DATABASE_URL"].rpartition("/")[0]
    environment = os.environ | {
        "DATABASE_URL": f"{server}/{name}" if server else f"sqlite:///{name}",
        "STORAGE_DIR": str(settings.STORAGE_DIR),
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"import django\ndjango.setup()\n{code}", *arguments],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen[str], sent: str = "", seconds: float = 120) -> str:
    """Wait for the end of a process and return what it printed; fail the test when it failed."""
    try:
        printed, _ = process.communicate(sent, timeout=seconds)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, printed
    return printed
