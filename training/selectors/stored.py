"""Whether the file store has something: a look at a folder, or a question to an object store."""

from __future__ import annotations

import time

from annotation import store
from annotation.store import StoreAway
from training import files

KNOWN_SECONDS = 60.0  # how long an object store's word counts that it has something: nothing goes that a run reads
MISSING_SECONDS = 5.0  # and that it has not
SILENT_SECONDS = 30.0  # and no word at all: a store that takes connections and says nothing costs a page 20 seconds
MOST_KNOWN = 10_000

# In this process alone: pages look every few seconds, and must not need the queue server for it.
answers: dict[str, tuple[float, bool]] = {}
silences: list[tuple[float, StoreAway]] = []


def is_kept(key: str) -> bool:
    """Raises StoreAway."""
    if not store.is_remote():
        return files.below(files.root(), key).exists()
    now = time.monotonic()
    until, known = answers.get(key, (0.0, False))
    return known if now < until else ask(key, now)


def ask(key: str, now: float) -> bool:
    if silences and now < silences[-1][0]:
        raise silences[-1][1]  # one page waits for it to answer, not one row after another
    try:
        known = store.has(key)
    except StoreAway as error:
        silences[:] = [(time.monotonic() + SILENT_SECONDS, error)]
        raise
    if len(answers) >= MOST_KNOWN:
        answers.clear()
    answers[key] = (now + (KNOWN_SECONDS if known else MISSING_SECONDS), known)
    return known


def forget_answers() -> None:
    answers.clear()
    silences.clear()
