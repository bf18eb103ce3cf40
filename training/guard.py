"""The database's own watch over the lifecycle: triggers that refuse what `STORIES` does not allow.

The services write a run's state by one conditional UPDATE; should one of them ever forget its condition, or someone
write SQL by hand, the database says no. It refuses a change of `state` that is not declared, and any change of
`attempt`, the fencing token, but the one a claim makes: + 1, from queued to running.

SQLite drops a table's triggers when a migration rebuilds the table, so they are compared after each `migrate` and put
back where they differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from training.models.runs import STORIES

TABLE = "training_run"
STATE_TRIGGER, ATTEMPT_TRIGGER = "run_state_allowed", "run_attempt_only_by_claim"
FUNCTION = "training_run_refuse"


def pairs() -> list[tuple[str, str]]:
    """The declared changes as plain text, in order."""
    return sorted((source.value, target.value) for source, target in STORIES)


def forbidden(allowed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each trigger's condition, in SQL that both databases read."""
    listed = ", ".join(f"'{source}>{target}'" for source, target in allowed)
    claim = "OLD.state = 'queued' AND NEW.state = 'running'"
    return {
        STATE_TRIGGER: f"NEW.state <> OLD.state AND (OLD.state || '>' || NEW.state) NOT IN ({listed})",
        ATTEMPT_TRIGGER: f"NEW.attempt <> OLD.attempt + (CASE WHEN {claim} THEN 1 ELSE 0 END)",
    }


WORDS = {
    STATE_TRIGGER: "a run may not change from this state to that one",
    ATTEMPT_TRIGGER: "only a claim changes the attempt, and adds 1",
}


def statements(vendor: str, allowed: Iterable[tuple[str, str]]) -> dict[str, str]:
    """{trigger: its CREATE statement} for a database."""
    head = "CREATE TRIGGER {name} BEFORE UPDATE OF state, attempt ON " + TABLE + " FOR EACH ROW WHEN ({when}) "
    tail = {
        "sqlite": "BEGIN SELECT RAISE(ABORT, '{name}: {words}'); END",
        "postgresql": "EXECUTE FUNCTION " + FUNCTION + "('{words}')",
    }[vendor]
    return {
        name: (head + tail).format(name=name, when=when, words=WORDS[name]) for name, when in forbidden(allowed).items()
    }


REFUSE = f"""
CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME, MESSAGE = format(
        '%s: %s (%s, attempt %s, to %s, attempt %s)',
        TG_NAME, TG_ARGV[0], OLD.state, OLD.attempt, NEW.state, NEW.attempt
    );
END $$
"""


def installed(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """{trigger: what it was made from}, as the database tells it."""
    names = (STATE_TRIGGER, ATTEMPT_TRIGGER)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name IN (%s, %s)", names)
        else:
            cursor.execute(
                "SELECT tgname, obj_description(oid, 'pg_trigger') FROM pg_trigger "
                "WHERE tgrelid = to_regclass(%s) AND tgname IN (%s, %s)",
                (TABLE, *names),
            )
        return dict(cursor.fetchall())


def mark(connection: BaseDatabaseWrapper, statement: str) -> str:
    """What `installed` answers for a trigger made by this statement."""
    return statement if connection.vendor == "sqlite" else hashlib.sha256((REFUSE + statement).encode()).hexdigest()


def install(connection: BaseDatabaseWrapper) -> bool:
    """Make the triggers what is declared; whether anything had to be changed."""
    wanted = statements(connection.vendor, pairs())
    if installed(connection) == {name: mark(connection, statement) for name, statement in wanted.items()}:
        return False
    with connection.cursor() as cursor:
        remove(connection)
        if connection.vendor == "postgresql":
            cursor.execute(REFUSE)
        for name, statement in wanted.items():
            cursor.execute(statement)
            if connection.vendor == "postgresql":
                cursor.execute(f"COMMENT ON TRIGGER {name} ON {TABLE} IS %s", [mark(connection, statement)])
    return True


def remove(connection: BaseDatabaseWrapper) -> None:
    on_table = f" ON {TABLE}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for name in (STATE_TRIGGER, ATTEMPT_TRIGGER):
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{on_table}")


def after_migrate(using: str, **_: Any) -> None:
    """Django's post_migrate: put back what a rebuilt table lost."""
    from django.db import connections

    connection = connections[using]
    if TABLE in connection.introspection.table_names():
        install(connection)
