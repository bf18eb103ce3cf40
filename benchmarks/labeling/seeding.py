"""Fills an empty database with a project to label: prompts, K answers each, a ranking task for each, and its people.

Rows are what an import of answers would have made, written past it: minutes instead of an hour. Sessions are made here
too, since signing in is not what is measured.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from annotation.conversations import Message, content_hash, text_hash
from annotation.ids import uuid7
from annotation.models import Membership, Project, Prompt, Response, Task, TaskKind, TaskResponse, User
from annotation.policy import INSTRUCTGPT_QUOTAS
from annotation.services.accounts import project_create
from annotation.services.bulk_rows import insert_rows
from annotation.services.queue_settings import kind_settings_update
from annotation.services.tasks import group_key
from annotation.splits import split_of
from benchmarks.labeling.texts import answer_text, prompt_text

CHUNK = 2000  # tasks written at once
TABLES = (Prompt, Response, Task, TaskResponse)


def main(spec: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    project, lead = make_project(spec)
    people = make_labelers(project, spec["labelers"])
    with fast_loading():
        tasks = make_tasks(project, spec)
    said = {"slug": project.slug, "lead": session_of(lead), "labelers": people}
    Path(spec["people"]).write_text(json.dumps(said))
    return {"tasks": tasks, "answers": tasks * spec["k"], "seconds": round(time.monotonic() - began, 1)}


def make_project(spec: dict[str, Any]) -> tuple[Project, User]:
    lead = User(username="lead", is_superuser=False)
    lead.set_unusable_password()
    lead.save(force_insert=True)
    project = project_create(name="Answers to rank", by=lead, slug="bench")
    kind_settings_update(project=project, kind=TaskKind.RANKING, overlap=spec["overlap"], by=lead)
    return project, lead


def make_labelers(project: Project, number: int) -> list[dict[str, str]]:
    users = [User(username=f"labeler{place}") for place in range(number)]
    for user in users:
        user.set_unusable_password()
    User.objects.bulk_create(users)
    Membership.objects.bulk_create(Membership(project=project, user=user, role="labeler") for user in users)
    return [{"name": user.username, "session": session_of(user)} for user in users]


def session_of(user: User) -> str:
    """A session as a sign-in makes it; returns its key, which is the cookie's value."""
    store = SessionStore()
    said = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    key = store._get_new_session_key()  # type: ignore[attr-defined]
    ends = timezone.now() + timedelta(seconds=settings.SESSION_COOKIE_AGE)
    Session.objects.create(session_key=key, session_data=store.encode(said), expire_date=ends)
    return str(key)


# --- Prompts, answers, tasks ------------------------------------------------------------------------------------------


def make_tasks(project: Project, spec: dict[str, Any]) -> int:
    draw = random.Random(spec.get("seed", 7))
    number = spec["answers"] // spec["k"]
    for first in range(0, number, CHUNK):
        rows: dict[type[Any], list[dict[str, Any]]] = {table: [] for table in TABLES}
        for place in range(first, min(first + CHUNK, number)):
            add_task(rows, project, place, spec, draw)
        with transaction.atomic():
            for table in TABLES:
                insert_rows(table, rows[table])
    return number


def add_task(
    rows: dict[type[Any], list[dict[str, Any]]],
    project: Project,
    place: int,
    spec: dict[str, Any],
    draw: random.Random,
) -> None:
    category = draw.choices(list(INSTRUCTGPT_QUOTAS), list(INSTRUCTGPT_QUOTAS.values()))[0]
    prompt = new_prompt(project, prompt_text(draw, place), category)
    answers = [new_answer(project, prompt["id"], answer_text(draw)) for _ in range(spec["k"])]
    task = {
        "id": uuid7(),
        "project_id": project.pk,
        "kind": TaskKind.RANKING,
        "prompt_id": prompt["id"],
        "category": category,
        "overlap": spec["overlap"],
        "open_slots": spec["overlap"],
        "group_key": group_key([answer["id"] for answer in answers]),
    }
    rows[Prompt].append(prompt)
    rows[Response] += answers
    rows[Task].append(task)
    rows[TaskResponse] += [{"task_id": task["id"], "response_id": answer["id"]} for answer in answers]


def new_prompt(project: Project, text: str, category: str) -> dict[str, Any]:
    messages: list[Message] = [{"role": "user", "content": text}]
    digest = content_hash(messages)
    split = split_of(digest, project.split_salt)
    about = {"messages": messages, "content_hash": digest, "group": digest, "split": split, "category": category}
    return about | {"id": uuid7(), "project_id": project.pk, "source": "import", "source_name": "bench", "pool": "rm"}


def new_answer(project: Project, prompt_id: UUID, text: str) -> dict[str, Any]:
    about = {"text": text, "content_hash": text_hash(text), "origin": "imported", "imported_author": "a model"}
    return about | {"id": uuid7(), "project_id": project.pk, "prompt_id": prompt_id}


# --- Fast, for the database is empty and all of these rows are right --------------------------------------------------


@contextmanager
def fast_loading() -> Iterator[None]:
    """Without checks of references and, on PostgreSQL, with indexes made at the end; both as before afterwards."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys=OFF")
            cursor.execute("PRAGMA synchronous=OFF")
            yield
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return
    with connection.cursor() as cursor:
        checks = may_skip_checks(cursor)
        indexes = plain_indexes(cursor)
        for name, _definition in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        yield
        for _name, definition in indexes:
            cursor.execute(definition)
        if checks:
            cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE")  # as autovacuum does by and by


def may_skip_checks(cursor: Any) -> bool:
    """Only a superuser may; for others it takes longer."""
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    if not cursor.fetchone()[0]:
        return False
    cursor.execute("SET session_replication_role = replica")
    return True


def plain_indexes(cursor: Any) -> list[tuple[str, str]]:
    """(name, definition) of the tables' indexes, but for those that a constraint is made of."""
    tables = [table._meta.db_table for table in TABLES]
    cursor.execute(
        "SELECT i.indexname, i.indexdef FROM pg_indexes i WHERE i.tablename = ANY(%s)"
        " AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = i.indexname)",
        [tables],
    )
    return list(cursor.fetchall())
