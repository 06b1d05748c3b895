"""What processes load and check before they begin: no more than they need."""

import json
import os
import subprocess
import sys

from tests.support import apart
from tests.support.processes import ROOT

WORKER = """
import json, sys
import batches.tasks
from console.acts import VERBS
known = set(VERBS)
loaded = [name for name in ("batches.admin", "console.admin", "aiohttp", "config.urls") if name in sys.modules]
from django.contrib import admin
admin.autodiscover()
print(json.dumps([loaded, sorted(set(VERBS) - known)]))
"""


def test_a_worker_loads_no_page_and_can_carry_on_every_act(db: None) -> None:
    loaded, unknown = json.loads(apart.output(apart.start(WORKER)))
    assert loaded == []
    assert unknown == []


def test_a_command_says_what_is_wrong_with_the_settings() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "verify_batch", "batch_1"],
        env=os.environ | {"BATCH_ENDPOINTS": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "BATCH_ENDPOINTS has the value 'nonsense'." in done.stderr


def test_what_is_loaded_with_the_pages_is_checked_with_them() -> None:
    """Django checks admin pages only if they are loaded by then."""
    code = """
from django.core.checks import run_checks
from django.contrib import admin
assert run_checks(tags=["admin"]) == []
print(len(admin.site._registry))
"""
    assert int(apart.output(apart.start(code))) > 10
