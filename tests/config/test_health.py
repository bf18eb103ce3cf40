from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.services]


def test_alive_says_ok_without_asking_anything(client: Client, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_ready_when_everything_is_there(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.json() == {"ready": True, "database": "ok", "broker": "ok", "migrations": "ok"}
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]


def test_it_names_the_migrations_that_wait(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["migrations"] == "1 not applied: run manage.py migrate"
    assert answer.json()["database"] == "ok"


def test_it_names_a_queue_server_that_is_gone(client: Client, settings: object) -> None:
    settings.CACHES = {  # type: ignore[attr-defined]
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "unix:///nowhere/broker.sock"}
    }
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["broker"] == "no answer from Redis (ConnectionError)"
    assert answer.json()["ready"] is False


def test_only_safe_methods(client: Client) -> None:
    assert client.post("/healthz").status_code == client.post("/readyz").status_code == 405
