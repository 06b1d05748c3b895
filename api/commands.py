"""The base of commands: it looks at the settings before it begins, and at nothing that no operator can mend."""

from django.core.management.base import BaseCommand

SETTINGS = "longshore"  # the tag of the checks of this service's settings


class ServiceCommand(BaseCommand):
    """Django's own checks are of our code: they load every page and take half a second, and `./run test` runs them."""

    requires_system_checks = [SETTINGS]
