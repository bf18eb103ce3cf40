"""Rows that are inserted many at a time are the rows that the ORM would have made, whatever stands in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils.timezone import now

from annotation.ids import uuid7, uuid7_texts
from annotation.models import Project, Prompt, RankedResponse, Response
from annotation.services.bulk_rows import insert_rows, stored_fields
from annotation.services.store_pace import gentle_store, setting
from tests.factories import PromptFactory

TEXTS = [
    "plain",
    "",
    "tabs\tand\nlines\r\nand \\ and \\N and \\.",
    "\\",
    "\\N",
    "\\.",
    "'quotes\" and %s and ?",
    "你好, 👋 and \u2028 and \x0b and \x7f",
    "ends with a backslash \\",
]


def response(prompt: Prompt, text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": uuid7(),
        "project_id": prompt.project_id,
        "prompt_id": prompt.pk,
        "text": text,
        "content_hash": "h",
        "origin": "imported",
        **more,
    }


@pytest.mark.services
@pytest.mark.django_db
def test_every_text_comes_back_as_it_was() -> None:
    prompt = PromptFactory()
    insert_rows(Response, [response(prompt, text) for text in TEXTS])
    assert list(Response.objects.order_by("pk").values_list("text", flat=True)) == TEXTS


@pytest.mark.services
@pytest.mark.django_db
def test_what_the_rows_do_not_say_is_as_the_model_has_it_and_values_keep_their_types() -> None:
    prompt = PromptFactory()
    elsewhere = datetime(2026, 3, 1, 12, 30, 1, 5, tzinfo=timezone(timedelta(hours=2)))
    decoding = {"temperature": 0.7, "stop": ["\\n", "\t", "é"]}
    said: dict[str, Any] = {"decoding": decoding, "ended": True, "logprob": -1.5e-7, "tokens": 3}
    rows = [response(prompt, "a", created_at=elsewhere, **said), response(prompt, "b", created_at=now(), **said)]
    rows[1] |= {"decoding": {}, "ended": None, "logprob": None, "tokens": None, "id": uuid7_texts(1)[0]}
    insert_rows(Response, rows)
    first, second = Response.objects.order_by("text")
    assert (first.created_at, first.decoding, first.ended) == (elsewhere, said["decoding"], True)
    assert (first.logprob, first.tokens, first.index, first.author_id) == (-1.5e-7, 3, 0, None)
    assert (second.pk, second.decoding, second.ended) == (UUID(rows[1]["id"]), {}, None)
    insert_rows(Response, [response(prompt, "c")])
    third = Response.objects.get(text="c")
    assert (third.decoding, third.imported_author) == ({}, "") and now() - third.created_at < timedelta(minutes=5)


@pytest.mark.services
@pytest.mark.django_db
def test_models_are_taken_as_they_are() -> None:
    made = PromptFactory.build(project=PromptFactory().project, messages=[{"role": "user", "content": "\\n\n"}])
    insert_rows(Prompt, [made])
    stored = Prompt.objects.get(pk=made.pk)
    assert {field.attname: getattr(stored, field.attname) for field in Prompt._meta.concrete_fields} == {
        field.attname: getattr(made, field.attname) for field in Prompt._meta.concrete_fields
    }
    insert_rows(Project, [])  # nothing to do


@pytest.mark.services
@pytest.mark.django_db
def test_an_id_that_the_database_counts_is_left_to_it() -> None:
    assert "id" in [field.attname for field in RankedResponse._meta.concrete_fields]
    assert "id" not in [field.attname for field in stored_fields(RankedResponse)]


def test_many_ids_at_once_are_of_version_seven_and_keep_their_order_among_single_ones() -> None:
    made = [str(uuid7()), *uuid7_texts(3000), str(uuid7()), *uuid7_texts(2), str(uuid7())]
    assert sorted(made) == made and len(set(made)) == 3005
    assert all((key.version, key.variant) == (7, "specified in RFC 4122") for key in map(UUID, made))
    assert all(str(UUID(key)) == key for key in made)
    assert abs(int(made[-1].replace("-", "")[:12], 16) / 1000 - datetime.now(UTC).timestamp()) < 60


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_gentle_store_is_as_it_was_before_afterwards() -> None:
    name = "synchronous_commit" if connection.vendor == "postgresql" else "wal_autocheckpoint"
    before = setting(name)
    with pytest.raises(ZeroDivisionError), gentle_store():
        assert setting(name) != before
        raise ZeroDivisionError
    assert setting(name) == before
