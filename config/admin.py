"""The admin as a whole. What django-q2 puts into it is taken out again: whoever may edit a Schedule may run any function."""

from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

admin.site.site_header = admin.site.site_title = "Longshore"
admin.site.index_title = "Console"

for model in (Schedule, Success, Failure, OrmQ):
    if admin.site.is_registered(model):  # OrmQ is there only with the database as the broker
        admin.site.unregister(model)
