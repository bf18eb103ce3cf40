"""Django settings: read from the environment, each with a sane default, none of them doing anything.

A laptop needs none of these variables. An installation sets SECRET_KEY, ALLOWED_HOSTS, DATABASE_URL and REDIS_URL.
`docs/installation.md` lists them all.
"""

from __future__ import annotations

from pathlib import Path

from django.utils.translation import gettext_lazy as _

from config import broker
from config.env import (
    BadSetting,
    env_bool,
    env_choice,
    env_email,
    env_int,
    env_list,
    env_networks,
    env_path,
    env_seconds_by_name,
    env_store,
    env_str,
    env_url,
    postgresql_database,
    sqlite_database,
)

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = env_path("PLACKETT_DATA", BASE_DIR / "data")
FILES_DIR = env_path("PLACKETT_FILES", DATA_DIR / "files")  # artifacts: snapshots, checkpoints, models
# With an object store, that folder is this host's own: what runs here now, and copies of what was used lately.
STORE = env_store("STORE_URL")
STORE_CACHE_BYTES = env_int("STORE_CACHE_GB", default=100, minimum=1, maximum=1_000_000) << 30
MODELS_DIR = env_path("MODELS_DIR", DATA_DIR / "models")  # Hugging Face folders that an admin may register

PRODUCTION = bool(env_str("DATABASE_URL"))
DEBUG = env_bool("DEBUG", default=False)


def secret_key() -> str:
    """The key from the environment; on a laptop, the one that `up` wrote into DATA (never a default)."""
    key = env_str("SECRET_KEY")
    if key:
        if len(key) < 32:
            raise BadSetting("SECRET_KEY", "is shorter than 32 characters", "Set it to a long random text.")
        return key
    if PRODUCTION:
        raise BadSetting("SECRET_KEY", "is not set", "Set it to a long random text, the same on every host.")
    try:
        return (DATA_DIR / "secret_key").read_text().strip()
    except FileNotFoundError:
        return ""  # Django refuses to sign with an empty key; `up` and `migrate` write the file


SECRET_KEY = secret_key()
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", [] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", [])
HTTPS = env_bool("HTTPS", default=False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "frontend.views.errors.csrf_failed"

INSTALLED_APPS = [
    "config",
    "annotation",
    "training",
    "frontend",
    "demo",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "django.forms",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "frontend.csp.ContentSecurityPolicyMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
            ],
        },
    },
]

if PRODUCTION:
    DATABASES = {"default": postgresql_database("DATABASE_URL", env_str("DATABASE_URL"))}
else:
    DATABASES = {"default": sqlite_database(DATA_DIR / "plackett.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "annotation.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "frontend:sign_in"
LOGIN_REDIRECT_URL = "frontend:home"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("简体中文"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "static/"
# On a laptop static files are served from where they are written: there is no folder that they are collected in.
STATIC_ROOT = env_path("STATIC_ROOT", BASE_DIR / "staticfiles") if PRODUCTION or env_str("STATIC_ROOT") else None
WHITENOISE_USE_FINDERS = not PRODUCTION
STORAGES = {
    "default": STORE
    or {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(FILES_DIR)}},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "whitenoise.storage.CompressedStaticFilesStorage"
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024
UPLOAD_MAX_BYTES = env_int("UPLOAD_MAX_MB", default=256, minimum=1, maximum=100_000) * 1024 * 1024

REDIS_URL = env_str("REDIS_URL")
CELERY_BROKER_URL = REDIS_URL or broker.celery_url(DATA_DIR)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL or broker.cache_url(DATA_DIR),
        "KEY_PREFIX": "plackett",
    }
}

# Runs (DESIGN section 6)
RUN_LEASE_SECONDS = env_int("RUN_LEASE_SECONDS", default=30, minimum=2, maximum=3600)
RUN_MAX_LOST = env_int("RUN_MAX_LOST", default=3, minimum=0, maximum=100)
RUN_THREADS = env_int("RUN_THREADS", default=0, minimum=0, maximum=1024)  # 0 = the machine's cores
RUN_STOP_SECONDS = env_int("RUN_STOP_SECONDS", default=30, minimum=1, maximum=3600)  # to save in, before a kill
RUN_STUCK_MINUTES = env_int("RUN_STUCK_MINUTES", default=10, minimum=1, maximum=10_080)  # waiting in vain: tell people
RUN_SILENT_SECONDS = env_int("RUN_SILENT_SECONDS", default=900, minimum=5, maximum=86_400)  # no event: it hangs
STAGES = ("pretrain", "sft", "reward", "ppo", "dpo", "rloo", "sample", "evaluate")
RUN_SILENT_STAGES = env_seconds_by_name("RUN_SILENT_STAGES", STAGES)  # other times for some stages: ppo=1800
WEB_PROCESSES = env_int("WEB_PROCESSES", default=1, minimum=1, maximum=64)  # those that `up` answers requests with
LABEL_LEASE_SECONDS = env_int("LABEL_LEASE_SECONDS", default=30 * 60, minimum=5, maximum=7 * 24 * 3600)

# Notices. No mail goes out unless EMAIL_HOST is set; links in mails and webhooks need PUBLIC_URL.
PUBLIC_URL = env_url("PUBLIC_URL")
EMAIL_HOST = env_str("EMAIL_HOST")
EMAIL_PORT = env_int("EMAIL_PORT", default=587, minimum=1, maximum=65_535)
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = env_str("EMAIL_USER"), env_str("EMAIL_PASSWORD")
EMAIL_SECURITY = env_choice("EMAIL_SECURITY", ("starttls", "tls", "none"))
EMAIL_USE_TLS, EMAIL_USE_SSL = EMAIL_SECURITY == "starttls", EMAIL_SECURITY == "tls"
EMAIL_TIMEOUT = env_int("EMAIL_TIMEOUT_SECONDS", default=10, minimum=1, maximum=120)
DEFAULT_FROM_EMAIL = env_email("EMAIL_FROM", needed_by="EMAIL_HOST" if EMAIL_HOST else "")
# Where researchers may push exports to, by their own tokens; "off" for nowhere.
HUB_ENDPOINT = "" if env_str("HF_ENDPOINT") == "off" else env_url("HF_ENDPOINT") or "https://huggingface.co"
# Networks of your own that webhooks may reach, such as 10.20.0.0/16. Without it only public addresses are reached.
WEBHOOK_NETWORKS = env_networks("WEBHOOK_NETWORKS", local=not PRODUCTION)

if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    # A worker that is frozen, or cut off, in the middle of a transaction would hold its run's row for ever, and nobody
    # could take the run back: PostgreSQL ends a transaction that says nothing for so long.
    idle = f"-c idle_in_transaction_session_timeout={2 * RUN_LEASE_SECONDS}s"
    DATABASES["default"]["OPTIONS"].setdefault("options", idle)

# The demo project (`demo/`)
DEMO_SEED = env_int("DEMO_SEED", default=7, minimum=0, maximum=2**31)
DEMO_SHORT = env_bool("DEMO_SHORT", default=False)  # only run through, in about a minute
DEMO_HEADLESS = env_bool("DEMO_HEADLESS", default=False)  # nobody visits: the simulated labelers leave no task over

API_REQUESTS_A_MINUTE = env_int("API_REQUESTS_A_MINUTE", default=600, minimum=1, maximum=1_000_000)  # of one account
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "annotation.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser", "rest_framework.parsers.MultiPartParser"],
    "EXCEPTION_HANDLER": "annotation.api_base.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "annotation.api_schema.Described",
    "DEFAULT_THROTTLE_CLASSES": ["annotation.throttling.AccountThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": f"{API_REQUESTS_A_MINUTE}/min"},
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Plackett",
    "DESCRIPTION": "Prompts, labels, snapshots, runs and models of a project. Tokens: `Authorization: Bearer ...`.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {  # names that stay, whatever is added: a generated client is made of them
        "TaskKindEnum": "annotation.models.TaskKind",
        "PoolEnum": "annotation.models.Pool",
        "SplitEnum": "annotation.models.Split",
        "OriginEnum": "annotation.models.Origin",
        "CategoryEnum": "annotation.fields.Category",
        "QuestionStateEnum": "annotation.models.QuestionState",
        "ImportStateEnum": "annotation.models.ImportState",
        "ImportFormatEnum": "annotation.import_serializers.FORMAT_NAMES",
        "ExportFormatEnum": "training.serializers.FORMATS",
        "FileEnum": "training.serializers.SPLIT_NAMES",
        "JobStateEnum": "training.models.JobState",
        "RunStateEnum": "training.models.RunState",
        "LeakStateEnum": "training.models.LeakState",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
}
SILENCED_SYSTEM_CHECKS: list[str] = []
