"""The command ``nfa``, also as ``python -m nfa``.

A verb that an import server can run is handed over to it; every other verb runs in this process.
"""

from __future__ import annotations

import sys

from nfa.import_server.hand_over import hand_over
from nfa.jobs.exit_codes import INTERRUPTED


def main() -> int:
    """Run the ``nfa`` command in the import server's fork or in this process; return the exit code."""
    arguments = sys.argv[1:]
    try:
        status = hand_over(arguments)
    except KeyboardInterrupt:  # no message: a fork that has begun prints its own
        return INTERRUPTED
    if status is not None:
        return status
    from nfa.cli.main import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
