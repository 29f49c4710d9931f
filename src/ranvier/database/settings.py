"""Django's settings, all of them derived from the settings of this machine (``ranvier.settings``)."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from ranvier import settings as machine
from ranvier.database.engine import database_config
from ranvier.database.safety import refuse_unsafe

RANVIER = machine.load()
refuse_unsafe(RANVIER)
SECRET_KEY = RANVIER.secret("django_key")
DEBUG = False

_public = urlsplit(RANVIER.database_url)
ALLOWED_HOSTS = sorted(
    {"localhost", "127.0.0.1", "[::1]", RANVIER.near, RANVIER.address, socket.gethostname(), _public.hostname or "localhost"}
)
if _public.scheme == "https":
    CSRF_TRUSTED_ORIGINS = [f"https://{_public.netloc}"]
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
#: Of Django's checks for deployment these do not hold here.
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # HSTS is for all ports of a host name, and Prefect's pages are without TLS: the web server in front may say it
    "security.W008",  # the web server in front redirects to https; the services of this machine speak to the port itself
]
if _public.scheme != "https":
    SILENCED_SYSTEM_CHECKS += ["security.W012", "security.W016"]  # without https no browser would send back a cookie that is for https

DATABASES = {"default": database_config(RANVIER.database_engine)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "people.User"
AUTHENTICATION_BACKENDS = ["ranvier.database.rest.admin_site.ByRole"]

INSTALLED_APPS = [
    "ranvier.database.people",
    "ranvier.database.subjects",
    "ranvier.database.data",
    "ranvier.database.actions",
    "ranvier.database.experiments",
    "ranvier.database.jobs",
    "ranvier.database.reruns",
    "ranvier.database.imports",
    "ranvier.database.rest",
    "ranvier.database.rest.admin_config.RanvierAdmin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "drf_spectacular",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "ranvier.database.rest.envelope.Envelope",
    "ranvier.database.rest.throttling.Limits",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ranvier.database.rest.access.Acting",
    "ranvier.database.rest.idempotency.Idempotency",
]
ROOT_URLCONF = "ranvier.database.urls"
WSGI_APPLICATION = "ranvier.database.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en-gb"

# Times are naive, as Alyx gives them: what the database stamps is UTC, a session's start and end are what the rig's clock said.
USE_TZ = False
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

#: A session with thousands of files is registered in one call.
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024

REST_FRAMEWORK = {
    # The session comes first, so that an unknown token is answered with 403, upon which ONE signs in again.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.SessionAuthentication",
        "ranvier.database.rest.authentication.TokenOfEither",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["ranvier.database.rest.permissions.SignedIn"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["ranvier.database.rest.parsers.StorableJSONParser", "rest_framework.parsers.FormParser"],
    "DEFAULT_FILTER_BACKENDS": ["ranvier.database.rest.filters.Seen", "ranvier.database.rest.filters.ListFilters"],
    "DEFAULT_PAGINATION_CLASS": "ranvier.database.rest.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "ranvier.database.rest.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Ranvier",
    "VERSION": "1",
    "DESCRIPTION": "Alyx's REST API, and what only Ranvier has: plans, attempts, events and expired leases.",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "ENUM_NAME_OVERRIDES": {
        "SexEnum": "ranvier.database.subjects.models.Subject.Sex",
        "GrowthSexEnum": [("M", "Male"), ("F", "Female")],
        "TestResultEnum": "ranvier.database.subjects.colony.Outcome",
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
