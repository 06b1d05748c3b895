"""Four roles are seeded, each with what its description says, and none with a permission nobody asks for."""

from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission

from config.roles import ADMIN, AUDITOR, OPERATOR, ROLES, VIEWER, grant
from console.acts import VERBS
from tests.support.installation import Installation, fresh_database

OURS = ("accounts", "batches", "console", "files")


@pytest.mark.e2e
def test_a_fresh_database_has_the_roles(tmp_path: Path) -> None:
    with fresh_database(tmp_path) as url:
        installation = Installation(tmp_path, url)
        installation.manage("migrate", "-v0")
        rows = installation.execute(
            "SELECT g.name, c.app_label, p.codename FROM auth_group g"
            " JOIN auth_group_permissions gp ON gp.group_id = g.id"
            " JOIN auth_permission p ON p.id = gp.permission_id"
            " JOIN django_content_type c ON c.id = p.content_type_id"
        )

    found: dict[str, set[str]] = {}
    for role, label, codename in rows:
        found.setdefault(role, set()).add(f"{label}.{codename}")
    assert found == {role: set(names) for role, names in ROLES.items()}


@pytest.mark.django_db
def test_what_an_installation_took_away_stays_away_unless_it_is_named() -> None:
    grant(apps, "default", ROLES)
    viewer = Group.objects.get(name="viewer")
    viewer.permissions.remove(Permission.objects.get(codename="view_blob"))

    grant(apps, "default", {"viewer": ["files.view_file"]})

    assert not viewer.permissions.filter(codename="view_blob").exists()


def test_the_roles_differ_as_they_are_described() -> None:
    assert VIEWER < OPERATOR < ADMIN
    assert VIEWER < AUDITOR < ADMIN
    assert all("view_" in name for name in VIEWER | AUDITOR)
    assert "batches.view_content" not in VIEWER | OPERATOR
    assert "console.view_act" not in VIEWER
    assert not [name for name in OPERATOR | AUDITOR if name.startswith("auth.")]
    assert not [name for name in OPERATOR if ".add_" in name or ".change_" in name]


@pytest.mark.django_db
def test_every_permission_of_ours_is_in_a_role() -> None:
    known = set()
    for permission in Permission.objects.filter(content_type__app_label__in=OURS):
        page: Any = admin.site._registry.get(permission.content_type.model_class())
        action = permission.codename.removesuffix(f"_{permission.content_type.model}")
        if action not in ("add", "change", "delete") or (page and action in page.grants):
            known.add(f"{permission.content_type.app_label}.{permission.codename}")

    assert known - ADMIN == set()
    assert {name for name in ADMIN if not name.startswith("auth.")} - known == set()
    view = {name for name in known if ".view_" in name}
    assert view - VIEWER == {"batches.view_content", "console.view_act"}


def test_every_act_asks_for_a_permission_that_an_operator_has() -> None:
    assert {verb.permission for verb in VERBS.values()} <= OPERATOR
