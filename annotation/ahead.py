"""Making the next item while the last one is used."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import TypeVar

Item = TypeVar("Item")
End = BaseException | None
"""How the items ended: by themselves, or with an error that is raised where they are used."""


@contextmanager
def ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items, each made in a thread while the one before it is used; two are held at most.

    It pays where whoever uses them waits for another process, such as a database server. At the end the thread is gone.
    """
    made: Queue[tuple[Item] | End] = Queue(maxsize=1)
    left = threading.Event()

    def make() -> None:
        end: End = None
        try:
            for item in items:
                made.put((item,))
                if left.is_set():
                    return
        except BaseException as error:
            end = error
        made.put(end)

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        yield used(made)
    finally:
        left.set()
        while maker.is_alive():
            if not made.empty():
                made.get_nowait()
            maker.join(0.01)


def used(made: Queue[tuple[Item] | End]) -> Iterator[Item]:
    while isinstance(found := made.get(), tuple):
        yield found[0]
    if found is not None:
        raise found
