"""Snakemake that asks Slurm for its jobs twice a second, while the plugin waits up to three minutes."""

import asyncio
import signal
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def sleep(self: RemoteExecutor) -> None:
    """Wait between two questions."""
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    RemoteExecutor.sleep = sleep
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in a shell's background has it ignored
    sys.exit(main())
