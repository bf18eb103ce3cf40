"""One run: labelers at a server for some time, then what the database holds. Returns the row that is printed."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.labeling.faults import Faults
from benchmarks.labeling.figures import DraftAtStop, Record, Stored, drafts_lost, kept
from benchmarks.labeling.labelers import Labeler, Session
from benchmarks.labeling.places import Place, server_settings
from benchmarks.labeling.serving import Server
from benchmarks.labeling.wire import Browser

WARM_SECONDS = 5.0  # beyond the time of thought within which all begin
SETTLE_SECONDS = 8.0  # after the last fault, until the labelers are cut off
WORST_TROUBLES = 3
PAGES = (
    *("queue/", "queue/policy/", "queue/limits/", "queue/review/", "prompts/", "people/", "audit/"),
    *("label/", "history/"),
)
PAGE_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Load:
    """How many labelers, how long they think, and until when."""

    part: str
    labelers: int = 100
    think_s: float = 10.0
    seconds: float = 60.0
    labels: int = 0
    """Stop at so many, before the time is over."""
    faults: bool = False


@dataclass
class Weighed:
    """The processor's time and the memory that the web processes took."""

    mib: float
    seconds: float
    own_seconds: float

    @classmethod
    def now(cls, server: Server) -> Weighed:
        return cls(server.web_mib(), server.web_seconds(), time.process_time())


def run(place: Place, server: Server, load: Load, seed: int) -> Record:
    """Have them label, and say what it took and what became of it."""
    people = json.loads(place.people.read_text())
    before = place.child("checking", {})["labels"]
    session = Session(server.host, server.port, people["slug"], load.think_s, keeps_trying=load.faults)
    session.most_labels = load.labels
    labelers = [
        Labeler(session, person["session"], 1000 * seed + number)
        for number, person in enumerate(people["labelers"][: load.labelers])
    ]
    measured = asyncio.run(labeling(place, server, session, labelers, load, seed))
    stopped = measured.pop("stopped")
    return {
        **described(place, load, server),
        **measured,
        **session.timings.row(),
        **outcome(place, session, before, stopped),
        "errors": session.errors,
        **reasons(session),
    }


def described(place: Place, load: Load, server: Server) -> Record:
    row: Record = {"part": load.part, "database": place.database, "labelers": load.labelers, "think_s": load.think_s}
    return row | {"web_processes": len(server.web_processes()), "settings": server_settings(place)}


def reasons(session: Session) -> Record:
    """The troubles that came most often, in words."""
    found: Record = {}
    for name, counted in (("troubles", session.troubles), ("again", session.again)):
        if counted:
            found[name] = dict(counted.most_common(WORST_TROUBLES))
    return found


# --- The labelers at work ---------------------------------------------------------------------------------------------


async def labeling(
    place: Place, server: Server, session: Session, labelers: Sequence[Labeler], load: Load, seed: int
) -> dict[str, Any]:
    work = [asyncio.create_task(labeler.work()) for labeler in labelers]
    await asyncio.sleep(max(1.0, load.think_s) + WARM_SECONDS)
    first, began = Weighed.now(server), time.monotonic()
    session.measures = True
    killed: Counter[str] = Counter()
    if load.faults:
        killed = await under_faults(place, server, labelers, load, seed)
    else:
        await until_over(session, load, work)
    seconds = time.monotonic() - began
    session.measures = False
    last = Weighed.now(server)
    stopped = [found for labeler in labelers if (found := labeler.at_stop())] if load.faults else []
    await ended(session, work, at_once=load.faults)
    labels = session.labels_measured
    return {
        "seconds": round(seconds, 1),
        "labels": labels,
        "labels_s": round(labels / seconds, 2),
        "web_mb_first": first.mib,
        "web_mb_last": last.mib,
        **({} if load.faults else shares(first, last, seconds, labels)),
        **({"kills": dict(killed)} if load.faults else {}),
        **({"idle": session.idle} if session.idle else {}),
        "stopped": stopped,
    }


def shares(first: Weighed, last: Weighed, seconds: float, labels: int) -> Record:
    """What of the machine's cores the web processes and the labelers themselves took."""
    web = last.seconds - first.seconds
    return {
        "web_cores": round(web / seconds, 2),
        "client_cores": round((last.own_seconds - first.own_seconds) / seconds, 2),
        "web_cpu_ms_a_label": round(1000 * web / labels, 1) if labels else None,
    }


async def until_over(session: Session, load: Load, work: Sequence[asyncio.Task[None]]) -> None:
    deadline = time.monotonic() + load.seconds
    while time.monotonic() < deadline and not session.ends and not all(each.done() for each in work):
        await asyncio.sleep(0.1)


async def under_faults(
    place: Place, server: Server, labelers: Sequence[Labeler], load: Load, seed: int
) -> Counter[str]:
    faults = Faults(place, server, labelers, seed)
    await faults.go_on(load.seconds)
    await asyncio.sleep(SETTLE_SECONDS)
    return faults.done


async def ended(session: Session, work: Sequence[asyncio.Task[None]], *, at_once: bool) -> None:
    """Let each finish what is on its way; or, `at_once`, as when every browser crashes in the middle of it."""
    session.ends = True
    if at_once:
        for each in work:
            each.cancel()
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, Exception):
            session.troubles[f"a labeler stopped: {type(result).__name__}: {result}"[:200]] += 1
    if at_once:
        await asyncio.sleep(2.0)  # what the server has taken up by then, it ends


# --- What became of it ------------------------------------------------------------------------------------------------


def outcome(place: Place, session: Session, before: int, stopped: Sequence[DraftAtStop]) -> Record:
    """Hold what was sent and acknowledged against what the database has."""
    sent = place.folder / "sent.json"
    drafts = [each.assignment for each in stopped]
    sent.write_text(json.dumps({"submissions": session.sent, "drafts": drafts}))
    found = place.child("checking", {"sent": str(sent)})
    row = kept(session.sent, session.acknowledged, stored_of(before, found))
    row["unaudited"] = found["labels"] - found["audit_rows"]
    if stopped:
        row |= {"drafts": len(stopped), "drafts_lost": session.drafts_older + drafts_lost(stopped, found["drafts"])}
    return row


def stored_of(before: int, found: dict[str, Any]) -> Stored:
    """What `checking` answered."""
    return Stored(
        labels_before=before,
        labels_after=found["labels"],
        submissions=found["submissions"],
        edited=found["edited"],
        over_overlap=found["over_overlap"],
        slots_lost=found["slots_lost"],
    )


# --- The lead's pages -------------------------------------------------------------------------------------------------


def pages(place: Place, server: Server) -> Record:
    """How long the lead's pages take on these tables, each opened some times."""
    people = json.loads(place.people.read_text())
    found = asyncio.run(opened(server, people))
    slowest = max(value for name, value in found.items() if name.startswith("queue/"))
    members = {"members": len(people["labelers"]) + 1}
    return {"part": "pages", "database": place.database, **members, "pages_ms": found, "lead_page_ms": slowest}


async def opened(server: Server, people: dict[str, Any]) -> dict[str, float]:
    browser = Browser(server.host, server.port, {"sessionid": people["lead"]})
    found = {}
    for page in PAGES:
        answers = [await browser.get(f"/p/{people['slug']}/{page}") for _number in range(PAGE_TRIES)]
        if any(answer.status != 200 for answer in answers):
            raise SystemExit(f"the page {page} answers {answers[-1].status}")
        found[page] = round(1000 * statistics.median(answer.seconds for answer in answers), 1)
        found[page + " first"] = round(1000 * answers[0].seconds, 1)
    browser.close()
    return found
