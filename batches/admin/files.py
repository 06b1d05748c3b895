"""The page of a file, with the batches that need it: `files` itself knows none."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from batches.admin.status import state_of
from files.admin import FileAdmin
from files.models import File

USERS = 20  # batches that are shown

admin.site.unregister(File)


@admin.register(File)
class FilePage(FileAdmin):
    change_form_template = "batches/file.html"

    def shown_of(self, request: HttpRequest, row: File) -> dict[str, Any]:
        shown = super().shown_of(request, row)
        # Those that have not ended hold their input, and an index says which; of others nothing keeps it.
        holders = row.holders.order_by("-created_at", "-id")[:USERS]
        may_see = request.user.has_perm("batches.view_batch")
        return shown | {"holders": [(one, state_of(one)) for one in holders] if may_see else None}
