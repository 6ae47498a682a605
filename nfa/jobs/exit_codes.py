"""Exit codes of the `nfa` command that are neither success nor an error."""

from __future__ import annotations

import signal

UNPUBLISHED = 69  # `nfa publish` could not publish every run; EX_UNAVAILABLE of sysexits.h
PREEMPTED = 75  # told to stop by SIGTERM; EX_TEMPFAIL of sysexits.h, "try again"

KILLED = 128 + signal.SIGKILL  # the import server was killed, and the job with it

INTERRUPTED = 130  # ended by Ctrl-C
