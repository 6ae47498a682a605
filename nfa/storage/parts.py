"""Finished work of a cell's stage, kept per seed, so that a rerun, a new seed or a kill computes nothing twice.

A part lies in <cell>/.state/<stage>/<hash>/: tables and arrays of one seed, and seed-<s>.json, written last: where it
is there, the part is whole. Another hash is another folder, so that going back to an earlier setting finds its work.
"""

import json
import resource
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from nfa.digests import file_digest, read_sealed, sealed
from nfa.storage.atomic import write_text
from nfa.storage.columns import TIMINGS
from nfa.storage.locks import waiting_lock
from nfa.storage.paths import CellPaths
from nfa.storage.tables import write_table


@dataclass(frozen=True)
class Parts:
    """The parts of one stage of one cell."""

    paths: CellPaths
    stage: str
    stage_hash: str

    @property
    def folder(self) -> Path:
        """Folder of the parts with this hash."""
        return self.paths.state / self.stage / self.stage_hash[:16]

    def file(self, seed: int, suffix: str) -> Path:
        """One file of a part."""
        return self.folder / f"seed-{seed}.{suffix}"

    def stamp(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What an output of this stage is made from, for its metadata."""
        return {"stage": self.stage, "hash": self.stage_hash, "seeds": list(seeds)}

    def finished(self, seed: int) -> dict[str, Any] | None:
        """Return the record of a finished part; None if it is not there, or its files are not as they were written."""
        try:
            record = read_sealed(self.file(seed, "json"))
            whole = {suffix: file_digest(self.file(seed, suffix)) for suffix in record["files"]} == record["files"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return record if whole else None

    def finish(self, seed: int, started: float, **record: Any) -> None:
        """Mark a part as whole, with its cost. ``started`` is ``time.perf_counter()`` at its start."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        cost = {"seconds": record.pop("earlier", 0.0) + time.perf_counter() - started, "peak_memory_mib": peak}
        suffixes = [suffix for suffix in ("parquet", "npz") if self.file(seed, suffix).exists()]
        files = {suffix: file_digest(self.file(seed, suffix)) for suffix in suffixes}
        write_text(self.file(seed, "json"), json.dumps(sealed({**record, **cost, "files": files})))

    def locked(self) -> AbstractContextManager[None]:
        """Keep this stage of this cell to one process: a killed Snakemake can leave an orphan that goes on writing."""
        busy = f"{self.stage}: another process works on {self.paths.folder.name}"
        return waiting_lock(self.paths.state / f"{self.stage}.lock", busy)


def write_timings(paths: CellPaths, hashes: dict[str, str]) -> None:
    """Gather the cost of all finished parts of a cell in its table of timings."""
    with FileLock(paths.state / "timings.lock"):
        rows = []
        for stage, stage_hash in hashes.items():
            parts = Parts(paths, stage, stage_hash)
            for seed in sorted(int(file.stem[5:]) for file in parts.folder.glob("seed-*.json")):
                record = parts.finished(seed)
                if record is not None:
                    rows.append((stage, seed, record["seconds"], record["peak_memory_mib"]))
        write_table(paths.timings, pd.DataFrame(rows, columns=TIMINGS.names), TIMINGS)
