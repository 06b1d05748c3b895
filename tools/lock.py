"""Writes the lock files from what `.venv` holds: `.venv/bin/python -m tools.lock` after a change of packages."""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def closure(requirements: list[str]) -> dict[str, str]:
    """Name and version of everything the requirements bring along in this environment."""
    found: dict[str, str] = {}
    waiting = [Requirement(text) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found[name] = metadata.version(name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _brought_by(name, extra)
    return found


def _brought_by(name: str, extra: str) -> list[Requirement]:
    listed = [Requirement(text) for text in metadata.requires(name) or []]
    return [each for each in listed if not each.marker or each.marker.evaluate({"extra": extra})]


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    runtime = closure(project["dependencies"] + extras["demo"])
    development = closure(extras["dev"])
    _write("requirements.lock", "", runtime)
    added = {name: development[name] for name in development.keys() - runtime.keys()}
    _write("requirements-dev.lock", "-r requirements.lock\n", added)


def _write(name: str, first: str, versions: dict[str, str]) -> None:
    lines = "".join(f"{package}=={version}\n" for package, version in sorted(versions.items()))
    (ROOT / name).write_text(first + lines)


if __name__ == "__main__":
    main()
