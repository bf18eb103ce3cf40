"""/healthz: the process lives. /readyz: it can serve, or which part is missing."""

from __future__ import annotations

from collections.abc import Callable

from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    missing = {name: problem for name, check in CHECKS.items() if (problem := check())}
    body = {name: missing.get(name, "ok") for name in CHECKS}
    return JsonResponse({"ready": not missing, **body}, status=503 if missing else 200)


def database_problem() -> str | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:  # whichever driver it is: the answer to "is it there" is no
        return f"no answer from the database ({type(error).__name__})"
    return None


def broker_problem() -> str | None:
    try:
        cache.set("readyz", 1, timeout=60)
    except Exception as error:
        return f"no answer from Redis ({type(error).__name__})"
    return None


def migrations_problem() -> str | None:
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Exception as error:
        return f"can't be read ({type(error).__name__})"
    return f"{len(waiting)} not applied: run manage.py migrate" if waiting else None


CHECKS: dict[str, Callable[[], str | None]] = {
    "database": database_problem,
    "broker": broker_problem,
    "migrations": migrations_problem,
}
