#!/usr/bin/env python3
"""The one door: `python3 manage.py up`, `test`, `lint`, `faults`, and Django's own commands.

Standard library only, and readable by old Pythons, until config.bootstrap has found or made the environment.
"""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036 (an old Python reads this file first, and must find words in it)
    sys.exit(
        "Plackett needs Python 3.11 or later, and this is {}.{}. Install a newer one (Debian, Ubuntu: apt install "
        "python3.11 python3.11-venv; macOS: brew install python@3.13), then: python3.11 manage.py {}".format(
            sys.version_info[0], sys.version_info[1], " ".join(sys.argv[1:]) or "up"
        )
    )

from config import bootstrap


def main() -> None:
    bootstrap.enter(sys.argv)
    if sys.argv[1:2] == ["test"]:
        from config import testing

        sys.exit(testing.main(sys.argv[2:]))
    if sys.argv[1:2] == ["lint"]:  # without Django's start-up, which a mistake that lint should name would stop
        from config import linting

        sys.exit(linting.main(sys.argv[2:]))
    if sys.argv[1:2] == ["faults"]:  # on databases of its own, so not with the settings of this installation
        os.execv(sys.executable, [sys.executable, "-m", "tests.faults", *sys.argv[2:]])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")  # `test` has its own
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
