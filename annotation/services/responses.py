"""Adding what a model answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.conversations import text_hash
from annotation.errors import PlackettError
from annotation.models import Prompt, Response, ResponseOrigin
from annotation.services import audit

if TYPE_CHECKING:
    from training.models import Model, Run

CHUNK = 500


class ResponseError(PlackettError):
    """Sampled answers that don't fit their project."""


@transaction.atomic
def responses_add(*, run: Run, model: Model, rows: Iterable[Mapping[str, Any]]) -> int:
    """Add the answers of a sampling run and return how many are new; the same file twice adds nothing.

    rows: {"prompt_id", "index", "text"} and, where known, "tokens", "ended", "logprob", "seed", "decoding".
    """
    added, iterator = 0, iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        added += add_chunk(run, model, chunk)
    if added:
        audit.record(project=run.project, by=run.created_by, verb="responses.add", target=run, added=added)
    return added


def add_chunk(run: Run, model: Model, chunk: list[Mapping[str, Any]]) -> int:
    ids = {str(row["prompt_id"]) for row in chunk}
    ours = {str(key) for key in Prompt.objects.filter(project=run.project_id, pk__in=ids).values_list("pk", flat=True)}
    if strangers := ids - ours:
        raise ResponseError(
            _("The answers name a prompt that is not in this project: %(prompt)s. Sample it again.")
            % {"prompt": min(strangers)}
        )
    have = {
        (str(prompt), index)
        for prompt, index in Response.objects.filter(run=run, prompt_id__in=ids).values_list("prompt_id", "index")
    }
    fresh = [response_of(run, model, row) for row in chunk if (str(row["prompt_id"]), int(row["index"])) not in have]
    Response.objects.bulk_create(fresh, ignore_conflicts=True)
    return len(fresh)


def response_of(run: Run, model: Model, row: Mapping[str, Any]) -> Response:
    # A model may emit what no text column keeps; an answer is shown and ranked, so the rest of it must not be lost.
    text = str(row["text"]).replace("\0", "\ufffd").encode("utf-8", errors="replace").decode()
    decoding = dict(row.get("decoding") or {})
    if row.get("seed") is not None:
        decoding["seed"] = row["seed"]
    return Response(
        project_id=run.project_id,
        prompt_id=row["prompt_id"],
        text=text,
        content_hash=text_hash(text),
        origin=ResponseOrigin.MODEL,
        model=model,
        run=run,
        decoding=decoding,
        index=int(row["index"]),
        tokens=row.get("tokens"),
        logprob=row.get("logprob"),
        ended=row.get("ended"),
    )
