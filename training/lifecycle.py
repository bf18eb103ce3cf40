"""The lifecycle as a drawing, from the table that the database enforces. `python -m training.lifecycle` prints it."""

from __future__ import annotations

from training.models.runs import ENDED, STORIES, RunState


def drawing() -> str:
    """Mermaid, as it stands in docs/runs.md."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {RunState.QUEUED.value}"]
    lines += [f"    {source.value} --> {target.value}: {story}" for (source, target), story in STORIES.items()]
    lines += [f"    {state.value} --> [*]" for state in RunState if state in ENDED and state != RunState.FAILED]
    return "\n".join([*lines, "```"])
