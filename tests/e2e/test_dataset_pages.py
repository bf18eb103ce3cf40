"""The pages of datasets: leaks, exports, comparisons, what is where. Accessible in both themes and languages."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from annotation.models import Prompt, Ranking
from annotation.services.labels import demonstration_submit
from annotation.services.queue import assignment_next
from tests.e2e.axe import assert_accessible
from tests.frontend.scene import Scene, add_demonstration_tasks, make_scene
from tests.training.labels import rank_everything
from training.jobs import carry_out
from training.services.jobs import job_claim
from training.services.snapshots import snapshot_build

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

NEAR = [f"Explain to a child why the sky over the sea is blue {word} day." for word in ("by", "at")]
LOOKS = (
    {"viewport": {"width": 1400, "height": 900}, "color_scheme": "light", "locale": "en"},
    {"viewport": {"width": 420, "height": 800}, "color_scheme": "dark", "locale": "zh-CN"},
)


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    made = make_scene(demonstrations=2, rankings=2)
    add_demonstration_tasks(made, NEAR)
    Prompt.objects.filter(project=made.project).update(split="train")
    Prompt.objects.filter(project=made.project, messages__0__content=NEAR[1]).update(split="test")
    member = made.member(made.alice)
    while assignment := assignment_next(labeler=member, kind="demonstration"):
        demonstration_submit(
            assignment=assignment, text="It is.", submission_id=uuid4(), started_at=None, active_seconds=1, by=member
        )
    rank_everything(made.member(made.bob), lambda response: len(response.text))
    return made


def test_the_pages_of_datasets(scene: Scene, open_browser: Callable[..., Any]) -> None:
    base = f"/p/{scene.project.slug}"
    snapshot_build(project=scene.project, kind="demonstrations", query={"splits": ["test"]}, by=scene.ada, name="old")
    leaking = snapshot_build(project=scene.project, kind="demonstrations", by=scene.ada, name="new")
    rankings = snapshot_build(project=scene.project, kind="rankings", by=scene.ada, name="ranked")
    page = open_browser(scene.ada, **LOOKS[0])
    page.goto(f"{base}/snapshots/{rankings.pk}/")
    page.locator("#id_format").select_option("preference")
    page.locator("#id_container").select_option("parquet")
    page.get_by_role("button", name="Write the files").click()
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    job = job_claim()
    assert job is not None
    carry_out(job)
    expect(page.get_by_role("link", name="ranked-preference-parquet.zip")).to_be_visible()  # told by the page itself
    with page.expect_download() as download:
        page.get_by_role("link", name="ranked-preference-parquet.zip").click()
    assert download.value.suggested_filename == "ranked-preference-parquet.zip"
    addresses = {
        "leaking": f"snapshots/{leaking.pk}/",
        "leaks": f"snapshots/{leaking.pk}/leaks/",
        "difference": f"snapshots/{leaking.pk}/difference/",
        "job": f"jobs/{job.pk}/",
        "labels": "data/rankings/",
        "label": f"data/rankings/{Ranking.objects.earliest('id').pk}/",
        "traces": f"people/{scene.member(scene.alice).pk}/traces/",
    }
    for look in LOOKS:
        page = open_browser(scene.ada, **look)
        for name, address in addresses.items():
            page.goto(f"{base}/{address}")
            assert_accessible(page, only_words=look is not LOOKS[0])
            if folder := os.environ.get("PICTURES"):
                page.screenshot(path=f"{folder}/{name}-{look['color_scheme']}.png", full_page=True)
    page = open_browser(scene.ada, **LOOKS[0])
    page.goto(f"{base}/snapshots/{leaking.pk}/")
    page.get_by_role("link", name="Look at them and decide").click()
    page.get_by_role("button", name="Leave them out of train").click()
    expect(page.get_by_role("heading", name="new without leaks")).to_be_visible()
