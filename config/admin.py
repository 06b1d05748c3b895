"""The console put together: where one can go, and what is left out.

What django-q2 puts into it is taken out again: whoever may edit a Schedule may run any function.
"""

from typing import cast

from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

from batches.acts import ring_for
from batches.admin import overview
from console.site import Entry, Site

site = cast(Site, admin.site)
site.sections = [
    [
        Entry("batches.batch", "Batches", "batch", "What runs, what has ended, and how."),
        Entry("files.file", "Files", "file", "What was uploaded, and what came out."),
        Entry("accounts.account", "Accounts", "account", "Who uses the service."),
        Entry("accounts.externaluser", "External users", "users", "Whom they act for."),
        Entry("accounts.apikey", "API keys", "key", "What they come in with."),
        Entry("batches.upstream", "Upstreams", "upstream", "The servers that lines are sent to."),
        Entry("batches.host", "Workers", "worker", "Who does the work."),
        Entry("console.act", "Operator log", "log", "Who did what, and why."),
    ],
    [
        Entry("auth.user", "Operators", "operator", "Who may come in here."),
        Entry("auth.group", "Roles", "role", "What they may do."),
    ],
]
site.panels = overview.panels
site.ring = lambda act: ring_for(act.pk)

for model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(model):  # OrmQ is there only with the database as the broker
        admin.site.unregister(model)
