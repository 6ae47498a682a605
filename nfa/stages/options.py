"""How and where the stages of a cell work."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nfa.storage.partial_table import SAVE_SECONDS
from nfa.storage.paths import CellPaths, SweepPaths
from nfa.sweep.cells import Cell, Sweep


@dataclass(frozen=True)
class StageOptions:
    """How and where ``train``, ``measure`` and ``probe`` work. Only the device can change digits of a result.

    Attributes:
        results: Folder of all results.
        device: Device to compute on.
        save_seconds: Seconds between two savings of unfinished work.
        processes: Number of processes that share the seeds of a cell.
    """

    results: Path
    device: torch.device
    save_seconds: float = SAVE_SECONDS
    processes: int = 1

    def paths(self, sweep: Sweep, cell: Cell) -> CellPaths:
        """Return the paths of a cell's files."""
        return SweepPaths(self.results / sweep.name).cell(cell.id)
