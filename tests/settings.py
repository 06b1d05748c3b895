"""The service's settings, over a directory and a database of the tests' own.

DATABASE_URL, or else TEST_DATABASE_URL, names the server on which the test database is made. Without
them it is a SQLite file. Processes started by tests inherit this module and bring their own variables.
"""

import os
import tempfile

if "DATA_DIR" not in os.environ:
    _directory = tempfile.TemporaryDirectory(prefix="longshore-")
    os.environ["DATA_DIR"] = _directory.name
if "DATABASE_URL" not in os.environ:
    os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "")

from config.settings import *  # noqa: F403, TID251 - after the environment; the same settings
