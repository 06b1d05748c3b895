"""Operators and roles are the admins' alone, and nobody raises himself above what he is."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from config.roles import ROLES
from console.models import Act
from console.reasons import NEEDED
from tests.console.operators import in_role, logged_in

pytestmark = pytest.mark.django_db
USERS = reverse("admin:auth_user_changelist")
OTHERS = ("viewer", "operator", "auditor")


def change(user: User) -> str:
    return reverse("admin:auth_user_change", args=[user.pk])


def form_of(user: User, **changes: Any) -> dict[str, Any]:
    groups = [group.pk for group in user.groups.all()]
    form = {"username": user.username, "first_name": "", "last_name": "", "email": ""}
    return form | {"is_active": "on", "groups": groups, "_reason": "because"} | changes


@pytest.fixture
def chief(db: None) -> User:
    return in_role("admin")


@pytest.mark.parametrize("role", OTHERS)
def test_only_an_admin_sees_or_changes_operators_and_roles(role: str) -> None:
    user = in_role(role)
    client = logged_in(user)
    superuser_form = form_of(user, is_superuser="on")
    group = user.groups.get()
    everything = {"name": role, "permissions": [p.pk for p in Permission.objects.all()[:50]]}
    role_url = reverse("admin:auth_group_change", args=[group.pk])
    before = group.permissions.count()

    assert client.get(USERS).status_code == 403
    assert client.get(change(user)).status_code == 403
    assert client.post(change(user), superuser_form).status_code == 403
    assert client.post(role_url, everything).status_code == 403
    assert client.post(reverse("admin:auth_user_add"), superuser_form).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[user.pk])
    assert client.post(password, {"password1": "x"}).status_code == 403

    user.refresh_from_db()
    assert not user.is_superuser
    assert group.permissions.count() == before


def test_an_admin_makes_an_operator_with_a_role(chief: User) -> None:
    role = Group.objects.get(name="admin")
    form = {"username": "new", "password1": "sixteen letters x", "password2": "sixteen letters x"}

    client = logged_in(chief)
    response = client.post(reverse("admin:auth_user_add"), form | {"groups": [role.pk]})

    assert response.status_code == 302
    made = User.objects.get(username="new")
    assert (made.is_staff, made.is_superuser) == (True, False)
    assert list(made.groups.all()) == [role]
    assert Act.objects.get().verb == "add user"


def test_an_admin_changes_roles_and_the_log_says_so(chief: User) -> None:
    user = in_role("viewer")
    auditor = in_role("auditor").groups.get()
    form = form_of(user, groups=[auditor.pk], _reason="she audits now")

    response = logged_in(chief).post(change(user), form)

    assert response.status_code == 302
    assert list(user.groups.all()) == [auditor]
    act = Act.objects.get()
    assert (act.verb, act.reason, act.operator) == (
        "change user",
        "she audits now",
        f"operator {chief.username}",
    )
    assert act.affected.get().outcome == "changed: Roles"


def test_an_admin_makes_nobody_a_superuser(chief: User) -> None:
    client = logged_in(chief)
    for user in (in_role("viewer"), chief):
        client.post(change(user), form_of(user, is_superuser="on"))

        user.refresh_from_db()
        assert not user.is_superuser


def test_an_admin_does_not_touch_a_superuser(chief: User) -> None:
    root = User.objects.create_superuser("root", password="kept")
    client = logged_in(chief)
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    new = {"password1": "sixteen letters x", "password2": "sixteen letters x"}

    assert client.post(change(root), form_of(root)).status_code == 403
    assert client.post(password, new | {"usable_password": "true"}).status_code == 403
    delete = reverse("admin:auth_user_delete", args=[root.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403

    root.refresh_from_db()
    assert root.check_password("kept")


def test_a_superuser_makes_another(admin_client: Client) -> None:
    user = in_role("viewer")

    admin_client.post(change(user), form_of(user, is_superuser="on"))

    user.refresh_from_db()
    assert user.is_superuser


def test_a_new_password_is_set_and_logged_without_it(chief: User) -> None:
    user = in_role("viewer")
    url = reverse("admin:auth_user_password_change", args=[user.pk])
    new = {"password1": "sixteen letters x", "password2": "sixteen letters x"}

    client = logged_in(chief)
    form = new | {"usable_password": "true", "set-password": "1"}
    refused = client.post(url, form)
    assert NEEDED in refused.content.decode()
    user.refresh_from_db()
    assert not user.check_password("sixteen letters x")
    mistyped = client.post(url, form | {"_reason": "she forgot it", "password2": "other"})
    assert "she forgot it" in mistyped.content.decode()
    response = client.post(url, form | {"_reason": "she forgot it"})

    assert response.status_code == 302
    user.refresh_from_db()
    assert user.check_password("sixteen letters x")
    act = Act.objects.get()
    assert act.reason == "she forgot it"
    assert act.affected.get().outcome == "changed: password"
    assert "sixteen" not in str(list(Act.objects.values()))


def test_a_deletion_is_logged_with_its_reason(chief: User) -> None:
    user = in_role("viewer")
    url = reverse("admin:auth_user_delete", args=[user.pk])

    logged_in(chief).post(url, {"post": "yes", "_reason": "left"})

    assert not User.objects.filter(pk=user.pk).exists()
    act = Act.objects.get()
    assert (act.verb, act.reason, act.affected.get().label) == (
        "delete user",
        "left",
        user.username,
    )


@pytest.mark.parametrize("reason", ["", "  ", "\x00"])
def test_nothing_is_deleted_without_a_reason(reason: str, chief: User) -> None:
    user = in_role("viewer")
    url = reverse("admin:auth_user_delete", args=[user.pk])
    client = logged_in(chief)

    page = client.post(url, {"post": "yes", "_reason": reason}, follow=True)

    assert page.redirect_chain == [(url, 302)]
    told = page.content.decode()
    assert '<li class="error">A reason is needed: it is kept in the operator log.</li>' in told
    assert re.search(r'name="_reason"[^>]* required', told)
    assert User.objects.filter(pk=user.pk).exists()
    assert not Act.objects.exists()


def test_nothing_is_changed_without_a_reason_and_what_was_typed_stays(chief: User) -> None:
    user = in_role("viewer")
    client = logged_in(chief)

    for form in ({"first_name": "Anna", "_reason": " "}, {"email": "x", "_reason": "<married>"}):
        page = client.post(change(user), form_of(user, **form))

        told = page.content.decode()
        assert page.status_code == 200
        assert ("A reason is needed" in told) is ("email" not in form)
    assert re.search(r'name="_reason" value="&lt;married&gt;"[^>]* required', told)
    user.refresh_from_db()
    assert (user.first_name, user.email) == ("", "")
    assert not Act.objects.exists()


def test_what_is_made_needs_no_reason(chief: User) -> None:
    page = logged_in(chief).get(reverse("admin:auth_group_add")).content.decode()

    assert re.search(r'name="_reason"[^>]*>', page)
    assert not re.search(r'name="_reason"[^>]* required', page)


def test_a_role_can_be_given_only_what_the_console_asks_for(chief: User) -> None:
    role = Group.objects.get(name="admin")
    client = logged_in(chief)
    told = client.get(reverse("admin:auth_group_change", args=[role.pk])).content.decode()

    for name in ("Cancel batches", "Read prompts and answers", "Revoke API keys", "Add account"):
        assert f"> {name}" in " ".join(told.split())
    for name in ("Delete batch", "Add file", "Change session", "Add schedule", "Delete API key"):
        assert name not in told


def test_every_page_opens(chief: User) -> None:
    client = logged_in(chief)
    pages = [
        USERS,
        change(in_role("viewer")),
        reverse("admin:auth_user_add"),
        reverse("admin:auth_user_password_change", args=[in_role("viewer").pk]),
        reverse("admin:auth_group_changelist"),
        reverse("admin:auth_group_add"),
        reverse("admin:password_change"),
    ]

    assert [client.get(page).status_code for page in pages] == [200] * len(pages)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_is_saved_as_it_is_stays_as_it_is(role: str, chief: User) -> None:
    group = in_role(role).groups.get()
    client, url = logged_in(chief), reverse("admin:auth_group_change", args=[group.pk])
    before = set(group.permissions.values_list("codename", flat=True))
    ticked = re.findall(
        r'name="permissions" value="(\d+)"[^>]* checked', client.get(url).content.decode()
    )

    client.post(url, {"name": role, "permissions": ticked, "_reason": "as it is"})

    assert set(group.permissions.values_list("codename", flat=True)) == before
