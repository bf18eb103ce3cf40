"""What is killed during a run: a web process, the database's connections, the labelers' own network. At random."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.labeling.labelers import Labeler
from benchmarks.labeling.places import Place
from benchmarks.labeling.serving import Server

BETWEEN_SECONDS = (1.0, 4.0)
SHARE_CUT = 0.25  # of the labelers, by one failure of the network


class Faults:
    """Kills one thing after the other until it is told to stop; `done` counts them."""

    def __init__(self, place: Place, server: Server, labelers: Sequence[Labeler], seed: int) -> None:
        self.place, self.server, self.labelers = place, server, labelers
        self.draw = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.kinds: dict[str, Callable[[], bool]] = {"web": self.kill_web, "network": self.cut_network}
        if place.url:
            self.kinds["database"] = self.end_connections

    async def go_on(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        waiting: list[str] = []
        while loop.time() < until:
            await asyncio.sleep(self.draw.uniform(*BETWEEN_SECONDS))
            waiting = waiting or self.draw.sample(sorted(self.kinds), len(self.kinds))  # each in its turn
            kind = waiting.pop()
            # The network in the event loop, where the connections live; the others wait for something.
            is_done = self.cut_network() if kind == "network" else await asyncio.to_thread(self.kinds[kind])
            self.done[kind] += is_done

    def kill_web(self) -> bool:
        return self.server.kill_web_process(self.draw.randrange(100))

    def cut_network(self) -> bool:
        """Of some of the labelers."""
        for labeler in self.draw.sample(self.labelers, max(1, round(SHARE_CUT * len(self.labelers)))):
            labeler.browser.cut()
        return True

    def end_connections(self) -> bool:
        """PostgreSQL ends every connection to this database but the one that asks for it."""
        import psycopg

        statement = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(self.place.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return bool(row and row[0])
