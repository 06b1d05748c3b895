from django.apps import AppConfig
from django.contrib.admin import apps as admin

from config.checks import register_checks


class ConfigConfig(AppConfig):
    name = "config"
    default = True

    def ready(self) -> None:
        register_checks()


class OperatorsConfig(admin.AdminConfig):
    """Django's admin, whose site is the console."""

    default = False
    default_site = "console.site.Site"
