"""A module of this benchmark in a process of its own that knows one database: `python -m benchmarks.labeling.child`.

What the module's `main` returns for the JSON object in the second argument is printed as the last line.
"""

from __future__ import annotations

import importlib
import json
import sys

import django


def main(arguments: list[str]) -> int:
    django.setup()
    module = importlib.import_module(f"benchmarks.labeling.{arguments[0]}")
    print(json.dumps(module.main(json.loads(arguments[1]))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
