"""The labeling benchmark counts rightly what was lost or made twice, and its labelers read the page as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from django.test import Client

from annotation.models import Assignment, Ranking
from benchmarks.labeling import checking
from benchmarks.labeling.__main__ import parse
from benchmarks.labeling.figures import (
    DraftAtStop,
    Stored,
    Timings,
    beside,
    drafts_lost,
    growth,
    kept,
    percentile,
    table,
)
from benchmarks.labeling.labelers import Page, fill, read_page
from benchmarks.labeling.plan import judged, worst_p95
from benchmarks.labeling.wire import Broken, Browser
from tests.factories import MembershipFactory, RankingTaskFactory, lease

Returned = TypeVar("Returned")


def test_a_percentile_is_a_value_that_was_measured() -> None:
    hundred = [number / 100 for number in range(100, 0, -1)]
    assert [percentile(hundred, share) for share in (50, 95, 99, 100)] == [0.5, 0.95, 0.99, 1.0]
    assert percentile([3.0], 50) == percentile([3.0], 99) == 3.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0 and percentile([], 95) is None


def test_timings_become_milliseconds() -> None:
    timings = Timings()
    for seconds in (0.1, 0.2, 0.3004):
        timings.note("submit", seconds)
    assert timings.row() == {"submit_p50_ms": 200.0, "submit_p95_ms": 300.4, "submit_p99_ms": 300.4}


@pytest.mark.parametrize(
    ("sent", "acknowledged", "stored", "expected"),
    [
        ("abc", "abc", Stored(10, 13, "abc"), (0, 0)),
        ("abc", "ab", Stored(10, 12, "ab"), (0, 0)),  # c was cut off, and is not there
        ("abc", "ab", Stored(10, 13, "abc"), (0, 0)),  # c was cut off, and is there
        ("abc", "abc", Stored(10, 12, "ab"), (1, 0)),
        ("abc", "abc", Stored(10, 14, "abc"), (0, 1)),  # one more than was sent
        ("abc", "abc", Stored(10, 13, "abc", edited=1), (0, 1)),  # one assignment has two
        ("", "", Stored(0, 0, ""), (0, 0)),
    ],
)
def test_what_is_lost_and_what_is_there_twice(
    sent: str, acknowledged: str, stored: Stored, expected: tuple[int, int]
) -> None:
    found = kept(sent, acknowledged, stored)
    assert (found["lost"], found["duplicates"]) == expected


def test_a_draft_is_lost_that_the_server_has_older_than_it_said_or_than_three_seconds() -> None:
    stopped = [DraftAtStop("a", 3, 2), DraftAtStop("b", 1, 2), DraftAtStop("c", 0, 0), DraftAtStop("d", 1, 0)]
    assert drafts_lost(stopped, {"a": 3, "b": 2, "d": 1}) == 0
    assert drafts_lost(stopped, {"a": 2, "b": 1}) == 3


def test_sizes_and_systems_are_compared_by_their_p95() -> None:
    small, large = {"next_p95_ms": 50.0, "submit_p95_ms": 80.0}, {"next_p95_ms": 60.0, "submit_p95_ms": 80.0}
    assert growth(small, large) == {"next_p95_growth": 1.2, "submit_p95_growth": 1.0}
    ours, theirs = {"labels_s": 50.0, "next_p95_ms": 100.0}, {"labels_s": 4.0, "next_p95_ms": 2000.0}
    assert beside(ours, theirs) == {"labels_s_times": 12.5, "next_p95_share": 0.05}


def test_a_row_is_judged_by_what_is_aimed_at() -> None:
    row: dict[str, Any] = {"part": "thought", "database": "postgresql", "errors": 0, "submit_p95_ms": 149.0, "lost": 0}
    assert judged(row)["met"] is True and worst_p95(row) == 149.0
    assert judged(row | {"next_p95_ms": 151.0})["met"] is False
    assert judged(row | {"database": "sqlite", "next_p95_ms": 151.0})["met"] is True
    assert judged(row | {"lost": 1})["met"] is False and judged(row | {"errors": 1})["met"] is False
    assert judged({"part": "kills", "database": "sqlite", "errors": 0, "drafts_lost": 1})["met"] is False


def test_the_table_has_a_line_a_row_and_leaves_the_others_out() -> None:
    rows = [{"system": "plackett", "labels_s": 9.5, "labels": 1200, "next_p95_ms": 80.0}, {"part": "growth"}]
    lines = table(rows).splitlines()
    assert len(lines) == 3 and "| 1,200 | 9.5 | – / 80 / – |" in lines[2]
    assert len({line.count("|") for line in lines}) == 1


def test_quick_is_small() -> None:
    assert parse(["--quick"]).answers == 2_000 and parse([]).answers == 1_000_000


# --- Against the product's own pages ----------------------------------------------------------------------------------


@pytest.fixture
def task(db: None) -> Assignment:
    labeler = MembershipFactory()
    RankingTaskFactory(prompt__project=labeler.project)
    return lease(labeler)


def page_of(client: Client, task: Assignment) -> Page:
    url = f"/p/{task.labeler.project.slug}/label/{task.pk}/"
    assert task.labeler.user is not None
    client.force_login(task.labeler.user)
    return read_page(url, client.get(url).content)


def test_a_labeler_reads_drafts_and_submits_the_page_as_it_is(client: Client, task: Assignment) -> None:
    page = page_of(client, task)
    assert page.answers == 4 and page.assignment == str(task.pk)
    fields = dict(page.fields)
    fill(fields, [2, 1, 4, 3], 2)
    fields["active_seconds"] = "7"
    script = {"accept": "application/json"}
    assert client.post(f"{page.url}draft/", fields | {"tab": "1"}, headers=script).status_code == 200
    assert checking.draft_versions([str(task.pk)]) == {str(task.pk): 7}
    assert page_of(client, task).fields["active_seconds"] == "7"
    fill(fields, [2, 1, 4, 3], 4)
    answer = client.post(page.url + page.action, fields, headers=script)
    assert answer.json()["next"].endswith("/label/")
    ranking = Ranking.objects.get()
    assert str(ranking.submission_id) == fields["submission_id"]
    assert [row.rank for row in ranking.ranked_responses.all()] == [2, 1, 4, 3]
    found = checking.main({})
    assert found == {"labels": 1}


def test_the_database_is_asked_for_what_must_not_be(client: Client, task: Assignment) -> None:
    assert checking.overlaps() == {"over_overlap": 0, "slots_lost": 0} and checking.edited() == 0
    task.task.open_slots = 1  # a slot that is held and free at once
    task.task.save(update_fields=["open_slots"])
    assert checking.overlaps()["slots_lost"] == 1
    other = MembershipFactory(project=task.labeler.project)
    Assignment.objects.create(task=task.task, labeler=other, slot=2, lease_until=task.lease_until)
    assert checking.overlaps()["over_overlap"] == 1


# --- The browser ------------------------------------------------------------------------------------------------------

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def host(handler: Handler) -> AsyncIterator[Browser]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield Browser("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def asked(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answer(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body])


def in_a_loop_of_its_own(work: Coroutine[Any, Any, Returned]) -> Returned:
    """In a thread: the browser tests of this process leave a loop running in its first one."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_a_connection_is_kept_and_asked_anew_where_the_host_closed_it_meanwhile() -> None:
    seen: list[bytes] = []

    async def once_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await asked(reader))
        writer.write(answer(b"hello", b"Set-Cookie: messages=abc; Path=/"))
        await writer.drain()
        writer.close()

    async def twice() -> tuple[bytes, bytes, int]:
        async with host(once_each) as browser:
            first = await browser.get("/one")
            await asyncio.sleep(0.05)
            second = await browser.post("/two", {"a": "b c"})
            browser.close()
            return first.body, second.body, browser.resent

    assert in_a_loop_of_its_own(twice()) == (b"hello", b"hello", 1)
    assert b"Cookie: messages=abc" in seen[1] and seen[1].startswith(b"POST /two ")


def test_an_answer_that_breaks_off_is_not_asked_for_again() -> None:
    seen: list[bytes] = []

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await asked(reader))
        writer.write(answer(b"hello")[:-2])
        await writer.drain()
        writer.close()

    async def once() -> None:
        async with host(half) as browser:
            with pytest.raises(Broken):
                await browser.get("/")
            browser.close()

    in_a_loop_of_its_own(once())
    assert len(seen) == 1
