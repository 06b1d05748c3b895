from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.contrib.admin import autodiscover
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register

from config.checks import register_checks


class ConfigConfig(AppConfig):
    name = "config"
    default = True

    def ready(self) -> None:
        register_checks()


class OperatorsConfig(admin.SimpleAdminConfig):
    """Django's admin, whose site is the console. Its pages are loaded with the URLs: a worker has no use for them."""

    default = False
    default_site = "console.site.Site"

    def ready(self) -> None:
        register(_check_pages, Tags.admin)


def _check_pages(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """What Django's own app config has checked, whose pages are loaded by then."""
    autodiscover()
    return [*check_dependencies(), *check_admin_app(app_configs)]
