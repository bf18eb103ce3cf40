"""The leak check of a snapshot: run once, by the build or by a worker, and then decided by a person if it found any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotation.services import audit
from annotation.services.audit import Actor, account_of
from training import files
from training.errors import RunError, SnapshotError
from training.inputs import SPLITS, TRAIN
from training.leaks import Leak, rows_in, verdicts
from training.models import LeakCheck, LeakPair, LeakState, Snapshot, SnapshotKind

SMALL = 5_000  # rows up to which the check is part of the build; it takes a second or two there
PAIRS_KEPT = 1000
SHORTEST_REASON = 10
TEXT_KEPT = 20_000  # characters of a prompt that the page shows
TELL_EVERY = 500

Tell = Callable[[int, int], None]
"""Called now and then with (rows done, rows in all)."""


def silent(done: int, total: int) -> None:
    """Nobody waits for the progress."""


def check_create(snapshot: Snapshot) -> LeakCheck | None:
    """A corpus has no prompts; a snapshot with nothing held out, or with the leaks left out, has no leak."""
    if snapshot.kind == SnapshotKind.CORPUS:
        return None
    counts = snapshot.counts
    held_out = sum(counts.get(split, 0) for split in SPLITS if split != TRAIN)
    is_clean = not (counts.get(TRAIN) and held_out) or snapshot.query.get("leaks") == "leave_out"
    state = LeakState.CLEAN if is_clean else LeakState.WAITING
    return LeakCheck.objects.create(snapshot=snapshot, state=state, checked_at=timezone.now() if is_clean else None)


def check_run(snapshot: Snapshot, tell: Tell = silent) -> None:
    """Look for leaks and write down what was found. What was looked at before is left as it is."""
    if not LeakCheck.objects.filter(snapshot=snapshot, state=LeakState.WAITING).exists():
        return
    pairs: list[Leak] = []
    exact = near = 0
    for found in leaks_of(snapshot, tell):
        exact += found.is_exact
        near += not found.is_exact
        if len(pairs) < PAIRS_KEPT:
            pairs.append(found)
    write_down(snapshot, pairs, exact, near)


def leaks_of(snapshot: Snapshot, tell: Tell) -> Any:
    """Each prompt of the train file that leaks. Raises FileStoreError where a file is gone or was changed."""
    folder, scratch = files.path_of(snapshot.artifact), files.fresh_folder()
    for name, entry in snapshot.manifest["files"].items():
        files.verify(folder / name, entry["sha256"], f"The file {name} of {snapshot.name}")
    held_out = {split: rows_in(folder / f"{split}.jsonl") for split in SPLITS if split != TRAIN}
    total = snapshot.counts[TRAIN]
    try:
        train = rows_in(folder / f"{TRAIN}.jsonl")
        for number, (_row, _leaks, found) in enumerate(verdicts(train, held_out, scratch / "bands"), start=1):
            if number % TELL_EVERY == 0:
                tell(number, total)
            if found:
                yield found
    finally:
        files.remove(scratch)


@transaction.atomic
def write_down(snapshot: Snapshot, pairs: list[Leak], exact: int, near: int) -> None:
    check = LeakCheck.objects.select_for_update().get(snapshot=snapshot)
    if check.state != LeakState.WAITING:  # another process was quicker
        return
    check.state = LeakState.FOUND if exact + near else LeakState.CLEAN
    check.exact, check.near, check.checked_at = exact, near, timezone.now()
    before = accepted_before(snapshot, pairs) if pairs and exact + near == len(pairs) else None
    if before:  # each of these pairs was looked at, in an earlier snapshot
        check.state, check.reason = LeakState.ACCEPTED, before.reason
        check.decided_by, check.decided_at = before.decided_by, before.decided_at
    check.save()
    LeakPair.objects.bulk_create(
        LeakPair(
            leak_check=check,
            similarity=pair.similarity,
            train_row=pair.train_row,
            train_prompt=pair.train_prompt[:TEXT_KEPT],
            held_out_row=pair.held_out_row,
            held_out_prompt=pair.held_out_prompt[:TEXT_KEPT],
            held_out_split=pair.held_out_split,
        )
        for pair in pairs
    )
    if exact + near:
        found = {"exact": exact, "near": near, "accepted_before": before is not None}
        audit.record(project=snapshot.project, by=None, verb="snapshot.leaks", target=snapshot, **found)


def accepted_before(snapshot: Snapshot, pairs: list[Leak]) -> LeakCheck | None:
    """The latest decision to accept, where every one of these pairs was accepted in this project's snapshots before."""
    accepted = LeakCheck.objects.filter(
        snapshot__project=snapshot.project, snapshot__kind=snapshot.kind, state=LeakState.ACCEPTED
    )
    known = set(LeakPair.objects.filter(leak_check__in=accepted).values_list("train_prompt", "held_out_prompt"))
    if any((pair.train_prompt[:TEXT_KEPT], pair.held_out_prompt[:TEXT_KEPT]) not in known for pair in pairs):
        return None
    return accepted.select_related("decided_by").order_by("-decided_at").first()


def leaks_accept(*, snapshot: Snapshot, reason: str, by: Actor | None) -> LeakCheck:
    """Train on it all the same, for a reason that the audit log and the dataset card keep. Raises SnapshotError."""
    reason = reason.strip()
    if len(reason) < SHORTEST_REASON:
        raise SnapshotError(_("Say in a sentence why these prompts may stay in train."))
    check = LeakCheck.objects.get(snapshot=snapshot)
    return decide(check=check, state=LeakState.ACCEPTED, by=by, reason=reason[:2000])


@transaction.atomic
def decide(
    *, check: LeakCheck, state: LeakState, by: Actor | None, reason: str = "", replaced_by: Snapshot | None = None
) -> LeakCheck:
    """Write a decision down, once; a snapshot whose leaks were accepted may still be replaced."""
    check = LeakCheck.objects.select_for_update().select_related("snapshot__project").get(pk=check.pk)
    if check.state not in {LeakState.FOUND, LeakState.ACCEPTED}:
        raise SnapshotError(_("There is nothing to decide: %(state)s.") % {"state": check.get_state_display()})
    check.state, check.replaced_by = state, replaced_by
    check.reason = reason or check.reason
    check.decided_by, check.decided_at = account_of(by), timezone.now()
    check.save()
    audit.record(
        project=check.snapshot.project,
        by=by,
        verb="snapshot.leaks_decide",
        target=check.snapshot,
        decision=state.value,
        reason=reason,
        replaced_by=str(replaced_by.pk) if replaced_by else "",
    )
    return check


def refuse_leaks(snapshot: Snapshot) -> None:
    """Raise RunError unless the snapshot was looked at and found clean, or a person decided."""
    check = LeakCheck.objects.filter(snapshot=snapshot).first()
    if check is None or check.state in {LeakState.CLEAN, LeakState.ACCEPTED}:
        return
    if check.state == LeakState.WAITING:
        raise RunError(
            _(
                "%(snapshot)s is still being checked for prompts that are in train and held out too. "
                "Try again when its page says that it is done."
            )
            % {"snapshot": snapshot.name}
        )
    if check.state == LeakState.LEFT_OUT and check.replaced_by:
        raise RunError(
            _("%(snapshot)s was replaced by %(other)s, which is without the leaks. Train on that one.")
            % {"snapshot": snapshot.name, "other": check.replaced_by.name}
        )
    raise RunError(
        _(
            "%(count)s prompts in the train file of %(snapshot)s also stand in what is held out, word for word or "
            "nearly. Open the snapshot %(snapshot)s, look at them, and leave them out or accept them."
        )
        % {"snapshot": snapshot.name, "count": check.total}
    )
