"""The service's settings, and beside its pages the trivial views it is compared with."""

from config.settings import *  # noqa: F403, TID251 - the same settings

INSTALLED_APPS += ["rest_framework.authtoken"]  # noqa: F405 - DRF's own keys, for the trivial view
ROOT_URLCONF = "benchmarks.urls"
