"""Finished work of one stage of one cell, kept per seed, so that nothing is computed twice.

The finished work of a seed is a part. It is in <cell>/.state/<stage>/<hash>/, where the hash is that of all settings
that the stage depends on: tables and arrays of the seed, and a record seed-<s>.json with their digests, which is
written last. If the record is there and the digests agree, the part is whole. So a kill loses only the unfinished seed,
a new seed leaves the others as they are, and going back to an earlier setting finds its parts again, in the folder of
their hash. The files of the cell are joined from its parts; each carries a stamp (stage, hash, seeds) that says what it
was made from, which later stages and Snakemake's planning compare with the sweep file (``checks.py``, ``stale.py``).
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
        """Return the path of one file of a part."""
        return self.folder / f"seed-{seed}.{suffix}"

    def stamp(self, seeds: Sequence[int]) -> dict[str, Any]:
        """Return the stamp of an output of this stage: what it is made from, for its metadata."""
        return {"stage": self.stage, "hash": self.stage_hash, "seeds": list(seeds)}

    def finished(self, seed: int) -> dict[str, Any] | None:
        """Return the record of a finished part; None if it is missing, or its files are not as written."""
        try:
            record = read_sealed(self.file(seed, "json"))
            whole = {suffix: file_digest(self.file(seed, suffix)) for suffix in record["files"]} == record["files"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return record if whole else None

    def finish(self, seed: int, started: float, **record: Any) -> None:
        """Write the record of a part, whose files are written already.

        Args:
            seed: Its seed.
            started: ``time.perf_counter()`` at its start.
            **record: Further content of the record; ``earlier`` are seconds that earlier processes spent on the part.
        """
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        cost = {"seconds": record.pop("earlier", 0.0) + time.perf_counter() - started, "peak_memory_mib": peak}
        suffixes = [suffix for suffix in ("parquet", "npz") if self.file(seed, suffix).exists()]
        files = {suffix: file_digest(self.file(seed, suffix)) for suffix in suffixes}
        write_text(self.file(seed, "json"), json.dumps(sealed({**record, **cost, "files": files})))

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of this stage of this cell, because a job of a killed Snakemake may still be writing."""
        busy = f"{self.stage}: another process works on {self.paths.folder.name}"
        return waiting_lock(self.paths.state / f"{self.stage}.lock", busy)


def write_timings(paths: CellPaths, hashes: dict[str, str]) -> None:
    """Write the table of timings of a cell: the seconds and the memory of all its finished parts."""
    with FileLock(paths.state / "timings.lock"):
        rows = []
        for stage, stage_hash in hashes.items():
            parts = Parts(paths, stage, stage_hash)
            for seed in sorted(int(file.stem[5:]) for file in parts.folder.glob("seed-*.json")):
                record = parts.finished(seed)
                if record is not None:
                    rows.append((stage, seed, record["seconds"], record["peak_memory_mib"]))
        write_table(paths.timings, pd.DataFrame(rows, columns=TIMINGS.names), TIMINGS)
