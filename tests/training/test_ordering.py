"""Who comes next: priority, place, and what moving does to others."""

from __future__ import annotations

import pytest

from annotation.models import AuditEvent, Membership
from tests.factories import ProjectFactory, RunFactory, UserFactory
from tests.training.conftest import walk_to
from training.errors import RunError
from training.models import Run
from training.selectors.workers import in_line
from training.services.claims import run_claim
from training.services.ordering import run_move, run_set_priority, run_to_queue


def order(queue: str = "gpu") -> list[str]:
    return list(in_line(queue).values_list("name", flat=True))


@pytest.fixture
def line(ada: Membership) -> dict[str, Run]:
    """a, b, x, c in one queue; x belongs to another project."""
    other = ProjectFactory()
    return {
        name: RunFactory(project=other if name == "x" else ada.project, name=name, place=number)
        for number, name in enumerate("abxc")
    }


@pytest.mark.parametrize(
    ("name", "to", "after"),
    [("c", "up", "acxb"), ("c", "top", "caxb"), ("a", "down", "baxc"), ("a", "bottom", "bcxa"), ("a", "up", "abxc")],
)
def test_a_projects_runs_change_places_and_others_keep_theirs(
    line: dict[str, Run], ada: Membership, name: str, to: str, after: str
) -> None:
    run_move(run=line[name], to=to, by=ada)
    assert "".join(order()) == after
    claimed = run_claim(queue="gpu", worker="w")
    assert claimed is not None and claimed.name == after[0]


def test_the_owner_of_the_installation_moves_past_everyone(line: dict[str, Run]) -> None:
    owner = UserFactory(username="owner", is_superuser=True)
    run_move(run=line["c"], to="up", by=owner)
    assert "".join(order()) == "abcx"
    run_move(run=line["x"], to="top", by=owner)
    assert "".join(order()) == "xabc"
    assert AuditEvent.objects.filter(verb="run.move", actor=owner).count() == 2


def test_moving_takes_on_the_priority_of_the_place(line: dict[str, Run], ada: Membership) -> None:
    run_set_priority(run=line["b"], priority=5, by=ada)
    assert "".join(order()) == "baxc"
    run_move(run=line["c"], to="top", by=ada)
    assert "".join(order()) == "cbxa"
    assert Run.objects.get(pk=line["c"].pk).priority == 5


def test_priority_and_queue_change_only_while_it_waits(line: dict[str, Run], ada: Membership) -> None:
    run_to_queue(run=line["a"], queue="gpu4", by=ada)
    assert order("gpu4") == ["a"] and "a" not in order()
    for change in (
        lambda: run_set_priority(run=line["b"], priority=1001, by=ada),
        lambda: run_to_queue(run=line["b"], queue="no such; queue", by=ada),
        lambda: run_move(run=line["b"], to="sideways", by=ada),
    ):
        with pytest.raises(RunError):
            change()
    walk_to(line["b"], "running")
    for change in (
        lambda: run_move(run=line["b"], to="top", by=ada),
        lambda: run_set_priority(run=line["b"], priority=1, by=ada),
        lambda: run_to_queue(run=line["b"], queue="gpu4", by=ada),
    ):
        with pytest.raises(RunError, match="can't be done"):
            change()
