"""How the API describes itself, for programs that are made of the description."""

from __future__ import annotations

from drf_spectacular.openapi import AutoSchema


class Described(AutoSchema):
    """Bodies are described as JSON, though a form is taken too; what wants a file says so itself.

    With two types for an optional body, generators write a client that does not load.
    """

    def map_parsers(self) -> list[str]:
        return ["application/json"]
