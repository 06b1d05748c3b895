"""`python -m tools.gallery`: takes the pictures of the console that docs/console.md shows, and lists them there."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.processes import PYTHON, ROOT

PAGE = ROOT / "docs/console.md"
PICTURES = ROOT / "docs/console"
HEAD = "## Pictures\n"
TESTS = "tests/browser/test_every_page.py"
WORLD, STORY, STRANGER = "no_page_has_a_flaw", "batch_with_a_past", "stranger"
TRIED = "tried_upstream"
# What it is called, the test whose pages it is one of, and the page.
SHOWN = [
    ("Overview", WORLD, "admin"),
    ("Batches", WORLD, "admin-batches-batch"),
    ("A batch", STORY, "admin-batches-batch-one-change"),
    ("Its lines", STORY, "admin-batches-batch-one-lines"),
    ("A line", STORY, "admin-batches-batch-one-lines-0-0"),
    ("Before an act", STORY, "admin-batches-batch-one-do-cancel-batches"),
    ("Requeue by cause", STORY, "admin-batches-batch-one-do-requeue-lines-by-cause"),
    ("What operators did to it", STORY, "admin-batches-batch-one-history"),
    ("Accounts", WORLD, "admin-accounts-account"),
    ("An account", WORLD, "admin-accounts-account-one-change"),
    ("External users", WORLD, "admin-accounts-externaluser"),
    ("An external user", WORLD, "admin-accounts-externaluser-one-change"),
    ("API keys", WORLD, "admin-accounts-apikey"),
    ("An API key", WORLD, "admin-accounts-apikey-one-change"),
    ("A new API key", WORLD, "admin-accounts-apikey-add"),
    ("Upstreams", WORLD, "admin-batches-upstream"),
    ("An upstream", WORLD, "admin-batches-upstream-one-change"),
    ("An upstream, tried", TRIED, "admin-batches-upstream-one-test"),
    ("Workers", WORLD, "admin-batches-host"),
    ("Files", WORLD, "admin-files-file"),
    ("A file", WORLD, "admin-files-file-one-change"),
    ("Operator log", WORLD, "admin-console-act"),
    ("An act", WORLD, "admin-console-act-one-change"),
    ("Operators", WORLD, "admin-auth-user"),
    ("An operator", WORLD, "admin-auth-user-one-change"),
    ("Roles", WORLD, "admin-auth-group"),
    ("A role", WORLD, "admin-auth-group-one-change"),
    ("Before a role is deleted", WORLD, "admin-auth-group-one-delete"),
    ("A new account", WORLD, "admin-accounts-account-add"),
    ("Before an account is suspended", WORLD, "admin-accounts-account-one-do-suspend-accounts"),
    ("A new upstream", WORLD, "admin-batches-upstream-add"),
    ("Before an upstream is paused", WORLD, "admin-batches-upstream-one-do-pause-upstreams"),
    ("A new operator", WORLD, "admin-auth-user-add"),
    ("A password", WORLD, "admin-password_change"),
    ("More: engines", WORLD, "admin-batches-engine"),
    ("More: shards", WORLD, "admin-batches-shard"),
    ("More: segments", WORLD, "admin-batches-segment"),
    ("More: objects", WORLD, "admin-files-blob"),
    ("More: changes of state", WORLD, "admin-batches-transition"),
    ("More: shares of limits", WORLD, "admin-batches-share"),
    ("More: paces", WORLD, "admin-batches-pace"),
    ("More: minutes of batches", WORLD, "admin-batches-batchminute"),
    ("More: traffic of upstreams", WORLD, "admin-batches-trafficslice"),
    ("More: hours of owners", WORLD, "admin-batches-ownerhour"),
    ("Login", STRANGER, "admin-login"),
    ("Front page", WORLD, "front"),
]
LOOKS = {"light": "light-1400", "dark": "dark-1400", "phone": "light-390"}


def main() -> int:
    PICTURES.mkdir(exist_ok=True)
    for old in PICTURES.glob("*.jpg"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="longshore-gallery-") as name:
        for test in (WORLD, STORY, TRIED, STRANGER):
            taken = Path(name, test)
            taken.mkdir()
            command = [PYTHON, "-m", "pytest", "-q", "-n", "0", TESTS, "-k", test]
            done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SCREENSHOTS": str(taken)})
            if done.returncode:
                return done.returncode
        for _, test, page in SHOWN:
            for look in LOOKS.values():
                shutil.copy(Path(name, test, f"{page}-{look}.jpg"), PICTURES)
    text = PAGE.read_text().partition(HEAD)[0].rstrip("\n")
    PAGE.write_text(f"{text}\n\n{HEAD}\n{table()}")
    return 0


def table() -> str:
    rows = ["| | light | dark | phone |", "|---|---|---|---|"]
    for title, _, page in SHOWN:
        cells = [_cell(title, page, look) for look in LOOKS]
        rows.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(title: str, page: str, look: str) -> str:
    path = (PICTURES / f"{page}-{LOOKS[look]}.jpg").relative_to(PAGE.parent)
    return f'<a href="{path}"><img src="{path}" width="240" alt="{title}, {look}"></a>'


if __name__ == "__main__":
    sys.exit(main())
