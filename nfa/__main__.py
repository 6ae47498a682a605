"""``python -m nfa``: the command ``nfa`` of this interpreter."""

from __future__ import annotations

import sys

from nfa.import_server.hand_over import hand_over
from nfa.jobs.exit_codes import INTERRUPTED


def main() -> int:
    """Run the ``nfa`` command, here or in a fork; return its exit code."""
    arguments = sys.argv[1:]
    try:
        status = hand_over(arguments)
    except KeyboardInterrupt:  # a fork that has begun says more
        return INTERRUPTED
    if status is not None:
        return status
    from nfa.cli.main import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
