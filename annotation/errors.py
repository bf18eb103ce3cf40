"""What the domain refuses. Each module that refuses things has a subclass of its own beside the code that raises it."""

from __future__ import annotations


class PlackettError(Exception):
    """A refusal in plain words that say the fix. Pages show `message`; the API answers with it as `detail`."""

    def __init__(self, message: object) -> None:
        self.message = str(message)
        super().__init__(self.message)


class ImportProblem(PlackettError):
    """A file, or a line of one, that can't be imported, with the reason."""
