"""What a labeler's history shows beside the labels: what reviewers said of them, and the questions asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from annotation.models import Demonstration, Membership, Ranking, WrittenPrompt
from annotation.selectors.feedback import SHOWN, feedback_on, questions_of, returned_to


def history_context(labeler: Membership, page: Iterable[Demonstration | Ranking | WrittenPrompt]) -> dict[str, Any]:
    """The rows of a page with what was said of each, what waits for the labeler, and their latest questions."""
    labels = list(page)
    found = feedback_on([label.assignment_id for label in labels])
    return {
        "rows": [{"label": label, "feedback": found[label.assignment_id]} for label in labels],
        "returned": list(returned_to(labeler)[:SHOWN]),
        "questions": list(questions_of(labeler)[:SHOWN]),
    }
