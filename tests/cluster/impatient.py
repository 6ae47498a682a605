"""Snakemake that asks Slurm for its jobs twice a second, while the plugin waits up to three minutes."""

import asyncio
import signal
import sys
import threading

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

MAIN = threading.get_ident()
interrupted = threading.Event()


async def sleep(self: RemoteExecutor) -> None:
    """Wait between two questions; an interrupt is passed on at the start of the wait.

    While Snakemake asks, its list of the jobs that an interrupt cancels is empty, so that it would cancel none. Users,
    whose Snakemake asks much less often, hardly ever see this.
    """
    if interrupted.is_set():
        signal.pthread_kill(MAIN, signal.SIGUSR1)
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    RemoteExecutor.sleep = sleep
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    sys.exit(main())
