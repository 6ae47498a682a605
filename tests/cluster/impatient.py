"""Snakemake as it is, but it asks Slurm for its jobs twice a second; the plugin backs off to every three minutes."""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def sleep(self: RemoteExecutor) -> None:
    """Wait between two looks."""
    await asyncio.sleep(0.5)


if __name__ == "__main__":
    RemoteExecutor.sleep = sleep
    sys.exit(main())
