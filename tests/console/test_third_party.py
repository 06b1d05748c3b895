"""An admin page that knows nothing of the console works in it all the same."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import clear_url_caches, reverse

pytestmark = pytest.mark.django_db


class PermissionAdmin(admin.ModelAdmin):
    list_display = ["codename", "name"]
    list_editable = ["name"]
    list_filter = ["content_type"]
    search_fields = ["codename"]
    actions = ["note"]

    @admin.action(description="Note them")
    def note(self, request: Any, rows: Any) -> None:
        self.message_user(request, f"noted {rows.count()}")


@pytest.fixture
def page(settings: Any) -> Iterator[str]:
    """Django's own kind of page, registered for the time of a test."""
    import config.urls

    admin.site.register(Permission, PermissionAdmin)
    before = list(config.urls.urlpatterns)
    place = next(n for n, one in enumerate(before) if str(one.pattern) == "admin/")
    config.urls.urlpatterns[place] = config.urls.path("admin/", admin.site.urls)
    clear_url_caches()
    yield reverse("admin:auth_permission_changelist")
    admin.site.unregister(Permission)
    config.urls.urlpatterns[:] = before
    clear_url_caches()


def test_it_is_listed_searched_edited_and_acted_on(page: str, admin_client: Client) -> None:
    permission = Permission.objects.order_by("pk")[0]
    listed = admin_client.get(page, {"q": permission.codename})

    told = listed.content.decode()
    assert ">Permissions</a>" in told
    assert 'name="_save"' in told
    assert "Note them" in told
    form = {"action": "note", "index": "0", "_selected_action": [permission.pk]}
    assert "noted 1" in admin_client.post(page, form, follow=True).content.decode().lower()


def test_its_forms_open(page: str, admin_client: Client) -> None:
    kind = ContentType.objects.get_for_model(Group)
    row = Permission.objects.create(codename="x", name="x", content_type=kind)

    for url in (
        reverse("admin:auth_permission_add"),
        reverse("admin:auth_permission_change", args=[row.pk]),
        reverse("admin:auth_permission_delete", args=[row.pk]),
        reverse("admin:auth_permission_history", args=[row.pk]),
    ):
        assert admin_client.get(url).status_code == 200
