"""The product's settings, but that pages are drawn without `collectstatic` and answer to the test client's name."""

from config.settings import *  # noqa: F403
from config.settings import STORAGES

STORAGES["staticfiles"] = {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}
ALLOWED_HOSTS = ["testserver"]
