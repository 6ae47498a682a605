"""SIGTERM is noticed between two steps, however often it comes."""

import signal
import subprocess
import sys
import time

from nfa.jobs.exit_codes import PREEMPTED
from tests.helpers import environment

JOB = """
import sys, time
from nfa.errors import Preempted
from nfa.jobs.exit_codes import PREEMPTED
from nfa.jobs.preemption import leave_at_once, preemption

leave_at_once()
try:
    with preemption() as asked:
        print("ready", flush=True)
        end = time.monotonic() + 60
        while not asked() and time.monotonic() < end:
            pass
        time.sleep(0.5)  # saving
        raise Preempted("saved")
except Preempted as stopped:
    time.sleep(0.2)  # whatever else ends with it
    print(stopped, flush=True)
    sys.exit(PREEMPTED)
"""


def test_many_signals_at_once_are_one() -> None:
    """A signal may come while another one is handled, or when the work is saved already."""
    with subprocess.Popen([sys.executable, "-c", JOB], env=environment(), stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while job.poll() is None and time.monotonic() < deadline:
            job.send_signal(signal.SIGTERM)
        job.kill()
        assert (job.stdout.read(), job.returncode) == ("saved\n", PREEMPTED)
