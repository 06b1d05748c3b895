"""Operators for tests: users with permissions of their own choice, or with a role."""

import itertools
from typing import Any

from django.apps import apps
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from config.roles import ROLES, grant

_numbers = itertools.count(1)


def with_permissions(*permissions: str) -> Client:
    """Log in as a new operator who has exactly these permissions, as app.codename."""
    user = User.objects.create_user(f"user-{next(_numbers)}", is_staff=True)
    for permission in permissions:
        label, codename = permission.split(".")
        found = Permission.objects.get(content_type__app_label=label, codename=codename)
        user.user_permissions.add(found)
    return logged_in(user)


def in_role(role: str) -> User:
    """Make an operator with a role. The roles are made anew if a test has emptied the database."""
    grant(apps, "default", {role: ROLES[role]})
    user = User.objects.create_user(f"{role}-{next(_numbers)}", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def name_of(client: Client) -> str:
    """What the log calls the operator of a client."""
    user = User.objects.get(pk=client.session["_auth_user_id"])
    return f"operator {user.username}"


def list_of(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def ask(client: Client, verb: str, *rows: Any, query: str = "", across: bool = False) -> Any:
    """Tick rows of a list and press the button of a verb; returns the confirm page."""
    form = {
        "action": verb,
        "index": "0",
        "select_across": str(int(across)),
        "_selected_action": [str(row.pk) for row in rows],
    }
    return client.post(list_of(type(rows[0])) + query, form)


def confirm(client: Client, page: Any, reason: str = "because", **changes: Any) -> Any:
    """Answer a confirm page as a browser does, with everything that stands in its form."""
    context = page.context
    form: dict[str, Any] = {}
    for name, value in context["repeated"]:
        form.setdefault(name, []).append(value)
    form |= {"token": context["reason"]["token"].value(), "reason": reason} | changes
    request = page.wsgi_request
    return client.post(request.get_full_path(), form, follow=True)


def button_of(row: Any, verb: Any) -> str:
    """The address behind the button of a verb, on the page of a row."""
    options = type(row)._meta
    name = f"admin:{options.app_label}_{options.model_name}_do"
    return reverse(name, args=[quote(str(row.pk)), verb.slug])
