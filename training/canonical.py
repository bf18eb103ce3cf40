"""JSON with one spelling: the same value is always the same bytes. Pure."""

from __future__ import annotations

import json
from typing import Any

# Made once: json.dumps with any of these settings makes an encoder for each value.
ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, text as it is (not escaped), no NaN."""
    return ENCODER.encode(value)
