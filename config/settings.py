"""Every setting. Each difference between installations is an environment variable; docs/configuration.md lists them."""

import hashlib
import os
import tempfile
from pathlib import Path

import dj_database_url
from cryptography.fernet import Fernet
from django.core.management.utils import get_random_secret_key
from environs import Env, validate

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env(eager=False)  # every wrong variable is named, not only the first

MB = 1024 * 1024
VERSION = "0.1.0"  # of this service

# The installation's own state

DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / "var"))).absolute()
DATA_DIR.mkdir(parents=True, exist_ok=True)


def _kept(name: str, made: str) -> str:
    """Return the secret kept in DATA_DIR/`name`, made once, readable by its owner only.

    It is linked into place whole, so that of two first starts both read the same one.
    """
    path = DATA_DIR / name
    if not path.exists():
        descriptor, temporary = tempfile.mkstemp(dir=DATA_DIR)
        with os.fdopen(descriptor, "w") as file:
            file.write(made)
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
    return path.read_text().strip()


# Django

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "") or _kept("secret.key", get_random_secret_key())
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
HTTPS = env.bool("HTTPS", False)  # the service is reached by https only, through a proxy
INSTALLED_APPS = [
    "config.apps.OperatorsConfig",  # django.contrib.admin, with the site of ours
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "console",
    "accounts",
    "files",
    "batches",
    "config",
]
MIDDLEWARE = [
    "api.middleware.RequestIdMiddleware",
    "console.policy.ContentPolicyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False  # the API's paths have none, and a POST cannot be redirected
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
LANGUAGE_CODE = "en-us"
USE_I18N = False
FORMAT_MODULE_PATH = ["config.formats"]
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # no collectstatic step before a start

# Web requests. Bodies of uploads stream to storage and are limited by FILE_MAX_BYTES instead.

DATA_UPLOAD_MAX_MEMORY_SIZE = 1 * MB
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100
DATA_UPLOAD_MAX_NUMBER_FILES = 10

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
X_FRAME_OPTIONS = "DENY"

# Operators: their sessions, and how often a login may fail

PROXIES = env.int("PROXIES", 0, validate=validate.Range(min=0))  # ours, in front of the service
SESSION_COOKIE_AGE = 12 * 3600
LOGIN_FAILURES = env.int("LOGIN_FAILURES", 5, validate=validate.Range(min=1))
LOGIN_FAILURES_OF_ADDRESS = env.int("LOGIN_FAILURES_OF_ADDRESS", 50, validate=validate.Range(min=1))
LOGIN_LOCK_SECONDS = env.int("LOGIN_LOCK_SECONDS", 900, validate=validate.Range(min=1))

# Database

DATABASE_URL = env.str("DATABASE_URL", "") or f"sqlite:///{DATA_DIR / 'db.sqlite3'}"
DATABASES = {
    "default": dj_database_url.parse(DATABASE_URL, conn_max_age=None, conn_health_checks=True)
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # Measured: DEFERRED loses two writes in three to "database is locked"; an answered request survives
    # a power cut only with synchronous=FULL.
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        # A process that freezes in a transaction would hold its locks, and everybody, for as long as it stays so.
        "options": "-c idle_in_transaction_session_timeout=30s",
        **DATABASES["default"].get("OPTIONS", {}),  # from the URL, such as sslmode
    }

# Secrets at rest: the first key encrypts, all of them decrypt

FIELD_KEYS = env.list("FIELD_KEYS", []) or [_kept("field.key", Fernet.generate_key().decode())]

# Files


def _storage_name() -> str:
    """A folder for each database: the purge removes what its own database does not name."""
    if not env.str("DATABASE_URL", ""):
        return "files"
    database = DATABASES["default"]
    where = f"{database['HOST']}:{database['PORT']}/{database['NAME']}"
    return f"files-{hashlib.sha256(where.encode()).hexdigest()[:12]}"


STORAGE_DIR = Path(env.str("STORAGE_DIR", "") or DATA_DIR / _storage_name()).absolute()
FILE_MAX_BYTES = env.int("FILE_MAX_BYTES", 512 * MB)
BATCH_FILE_MAX_BYTES = env.int("BATCH_FILE_MAX_BYTES", 200 * MB)
FILE_EXPIRES_SECONDS = env.int("FILE_EXPIRES_SECONDS", 30 * 86400)  # inputs and results of batches
ORPHAN_GRACE_SECONDS = env.int("ORPHAN_GRACE_SECONDS", 6 * 3600)  # objects that no row names

# Batches: what a caller may ask for

BATCH_ENDPOINTS = env.list(
    "BATCH_ENDPOINTS", ["/v1/chat/completions", "/v1/embeddings", "/v1/images/generations"]
)
BATCH_COMPLETION_WINDOWS = env.list("BATCH_COMPLETION_WINDOWS", ["24h"])
BATCH_MAX_REQUESTS = env.int("BATCH_MAX_REQUESTS", 50_000)
BATCH_MAX_INPUTS = env.int("BATCH_MAX_INPUTS", 50_000)  # texts of one embeddings batch
BATCH_MAX_LINE_BYTES = env.int("BATCH_MAX_LINE_BYTES", 8 * MB)
BATCH_DEFAULT_LINE_CONCURRENCY = env.int("BATCH_DEFAULT_LINE_CONCURRENCY", 512)
BATCH_MAX_LINE_CONCURRENCY = env.int("BATCH_MAX_LINE_CONCURRENCY", 4096)

# Batches: how they run

BATCH_SHARD_LINES = env.int("BATCH_SHARD_LINES", 1000)
BATCH_SHARD_BYTES = env.int("BATCH_SHARD_BYTES", 8 * MB)
BATCH_LEASE_SECONDS = env.float("BATCH_LEASE_SECONDS", 30)
BATCH_TURN_SECONDS = env.float("BATCH_TURN_SECONDS", 600)
BATCH_DRAIN_SECONDS = env.float("BATCH_DRAIN_SECONDS", 25)  # for calls in flight, at SIGTERM
BATCH_CANCEL_GRACE_SECONDS = env.float(
    "BATCH_CANCEL_GRACE_SECONDS", 5
)  # the same, at cancel and expiry
BATCH_MAX_ATTEMPTS = env.int("BATCH_MAX_ATTEMPTS", 5)
BATCH_MAX_ANSWER_BYTES = env.int("BATCH_MAX_ANSWER_BYTES", 10 * MB)
ENGINE_CONCURRENCY = env.int("ENGINE_CONCURRENCY", 512)  # calls in flight of one engine
ENGINE_WORKERS = env.int("ENGINE_WORKERS", os.cpu_count() or 1)
CONTROL_WORKERS = env.int("CONTROL_WORKERS", 2)
TRANSPORT = env.str("TRANSPORT", "http", validate=validate.OneOf(["http", "aiohttp"]))
STALL_SECONDS = env.float("STALL_SECONDS", 60)  # work is due and nothing moves: restart the cluster

# Upstream: one from the environment; more are rows

UPSTREAM_BASE_URL = env.str("UPSTREAM_BASE_URL", "")
UPSTREAM_API_KEY = env.str("UPSTREAM_API_KEY", "")
UPSTREAM_LIMIT = env.int("UPSTREAM_LIMIT", None)
UPSTREAM_TIMEOUT_SECONDS = env.int("UPSTREAM_TIMEOUT_SECONDS", 600)
UPSTREAM_PROXY = env.str(
    "UPSTREAM_PROXY", ""
)  # that every call goes through, with TRANSPORT=aiohttp

# The queue: a doorbell, never the ledger. Its entries may be lost, doubled or late.

_TURN_TIMEOUT = int(BATCH_TURN_SECONDS + UPSTREAM_TIMEOUT_SECONDS + 120)
Q_CLUSTER = {
    "name": "longshore",  # also the salt of its signatures: never change it
    "orm": "default",
    "workers": CONTROL_WORKERS,
    "queue_limit": 2,
    "timeout": 1800,
    "retry": 7200,
    "ack_failures": True,
    "max_attempts": 1,  # what must run again is found in the rows
    "save_limit": -1,
    "catch_up": False,
    "poll": 0.2,
    "bulk": 1,
    "guard_cycle": 0.5,  # its countdown must hit exactly 0: only .25, .5 and 1 do
    "recycle": 500,
    "max_rss": 400_000,
    "ALT_CLUSTERS": {
        "engine": {
            "workers": ENGINE_WORKERS,
            "queue_limit": 1,
            "timeout": _TURN_TIMEOUT,
            "retry": 2 * _TURN_TIMEOUT + 300,
            "scheduler": False,
            "recycle": 50,
        }
    },
}

# The API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "api.negotiation.AnyAccept",
    "EXCEPTION_HANDLER": "api.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_METADATA_CLASS": None,  # OPTIONS is a method like any other that is not there
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Longshore",
    "DESCRIPTION": "A self-hosted Batch API for language models.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["api.schema.without_aliases"],
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name} {process} {message}", "style": "{"}
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},  # a caller's mistake is not the operator's
        "django-q": {"handlers": [], "propagate": True, "level": "WARNING"},
    },
}

env.seal()
