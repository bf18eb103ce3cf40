"""The demo project: its people, guidelines, corpus, prompts and the tasks that they begin with."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from annotation.models import Membership, Pool, Project, Prompt, PromptSource, TaskKind, User
from annotation.roles import Role
from annotation.services.accounts import member_add, project_create, simulated_labeler, user_create
from annotation.services.guidelines import guideline_publish
from annotation.services.prompts import PromptRow, prompts_add
from annotation.services.queue_settings import kind_settings_update
from annotation.services.tasks import demonstration_tasks_create
from demo.corpus import corpus
from demo.guidelines import guidelines
from demo.labelers import Panel
from demo.prompts import WorldPrompt, prompt_pools
from demo.recipe import FULL, SHORT, Recipe
from training.models import Snapshot, SnapshotKind
from training.services.snapshots import corpus_add

SLUG: Final = "fernhill"
PEOPLE: Final = {"lena": Role.LABELER, "rex": Role.REVIEWER, "rita": Role.RESEARCHER}
ADMIN: Final = "ada"
DRIVER: Final = "fernhill-driver"
"""The account in whose name the demo trains. A run that a visitor launches is the visitor's, and left alone."""
HELD_OUT_PERCENT: Final = 20


def recipe() -> Recipe:
    return SHORT if settings.DEMO_SHORT else FULL


def find_demo() -> Project | None:
    return Project.objects.filter(slug=SLUG, is_demo=True).first()


def driver() -> User:
    return User.objects.get(username=DRIVER)


@transaction.atomic
def ensure_demo() -> Project:
    """Make the demo project with its people and guidelines, if it is not there. The rest is the driver's work."""
    project = find_demo()
    if project is not None:
        return project
    ada = user_create(username=ADMIN)
    project = project_create(
        name="Fernhill",
        slug=SLUG,
        by=ada,
        description="A made-up town, a small model that is new there, and the whole loop on one machine.",
        is_demo=True,
        responses_per_prompt=recipe().answers,
        # The seed decides who is held out, as it decides everything else in the demo.
        split_salt=f"fernhill {settings.DEMO_SEED}",
        validation_percent=HELD_OUT_PERCENT,
        test_percent=0,
    )
    kind_settings_update(project=project, kind=TaskKind.RANKING, overlap=recipe().overlap, by=ada)
    # Before anyone comes, so that it is nobody's change to read first.
    guideline_publish(project=project, body=guidelines(), by=ada)
    for username, role in PEOPLE.items():
        member_add(project=project, user=user_create(username=username, by=ada), role=role, by=ada)
    member_add(project=project, user=user_create(username=DRIVER, by=ada), role=Role.ADMIN, by=ada)
    for number in range(1, len(panel_labelers()) + 1):
        simulated_labeler(project=project, number=number)
    return project


def panel_labelers() -> tuple[str, ...]:
    return Panel(noise=1.0).labelers


def simulated_labelers(project: Project) -> dict[str, Membership]:
    """The simulated labelers by the names that the panel knows them by."""
    members = Membership.objects.filter(project=project, is_simulated=True).select_related("project").order_by("id")
    return dict(zip(panel_labelers(), members, strict=True))


def dealt_prompts() -> dict[str, list[WorldPrompt]]:
    """The pools of this seed, as large as the recipe wants them; "corpus" holds what no pool has."""
    dealt = prompt_pools(settings.DEMO_SEED)
    return {pool: prompts[: recipe().prompts.get(pool, len(prompts))] for pool, prompts in dealt.items()}


def add_corpus(project: Project) -> Snapshot:
    """The corpus never asks a held-out prompt."""
    plan, dealt = recipe(), prompt_pools(settings.DEMO_SEED)
    asked = [prompt for pool, prompts in dealt.items() if pool != Pool.EVAL for prompt in prompts]
    written = corpus(asked, documents=plan.documents + plan.validation_documents, seed=settings.DEMO_SEED)
    documents: Iterator[Any] = (document.get("text") or document for document in written)
    percent = max(1, round(100 * plan.validation_documents / plan.documents))
    return corpus_add(
        project=project, by=driver(), texts=documents, name="News of Fernhill", validation_percent=percent
    )


def corpus_of(project: Project) -> Snapshot | None:
    return Snapshot.objects.filter(project=project, kind=SnapshotKind.CORPUS, created_by=driver()).first()


def add_prompts(project: Project) -> None:
    """The prompts of all pools, and a task to write for each that demonstrations are wanted of. Again adds nothing."""
    for pool, prompts in dealt_prompts().items():
        if pool not in Pool.values:
            continue
        rows = [
            PromptRow(
                messages=prompt.conversation(),
                category=prompt.category,
                language={"zh": "zh-hans"}.get(prompt.language, prompt.language),
                group=prompt.group,
                source_name="fernhill",
                source_id=prompt.id,
            )
            for prompt in prompts
        ]
        prompts_add(project=project, rows=rows, pool=pool, source=PromptSource.IMPORT, by=driver())
    writing = Prompt.objects.filter(project=project, pool=Pool.SFT).order_by("id")
    demonstration_tasks_create(project=project, prompts=writing, by=driver())


@contextmanager
def one_at_a_time() -> Iterator[bool]:
    """Yield whether this process may drive: two beats of the clock may overlap, and one is enough."""
    path = Path(settings.DATA_DIR) / "demo.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
