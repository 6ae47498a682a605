"""Exit codes of the `nfa` command that are neither success nor an error."""

from __future__ import annotations

import signal

PREEMPTED = 75  # exit status: EX_TEMPFAIL of sysexits.h, "try again"

KILLED = 128 + signal.SIGKILL  # exit status where the warm process was killed

INTERRUPTED = 130  # that of a command that Ctrl-C ended
