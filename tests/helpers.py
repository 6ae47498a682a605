"""What several tests need: small sweeps, and the command as a subprocess."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse

ROOT = Path(__file__).resolve().parents[1]

TINY: dict[str, Any] = {
    "sweep": "tiny",
    "seeds": 2,
    "data": [
        {"name": "fashion_mini", "n_train": 200, "n_test": 100},
        {"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64},
    ],
    "model": [{"name": "mlp", "depth": 2, "width": 12}],
    "optimizer": [{"name": "sgd", "lr": 0.1}, {"name": "adam", "lr": 0.01}],
    "train": {"steps": 30, "batch_size": 32, "checkpoints": 3},
    "measure": {"samples": 50},
    "probe": {"kind": "ridge"},
}


def tiny(**changes: Any) -> dict[str, Any]:
    """Return a copy of the small sweep document with top-level keys replaced."""
    return {**copy.deepcopy(TINY), **changes}


def tiny_sweep(**changes: Any) -> Sweep:
    """Return the small sweep, parsed."""
    return parse(tiny(**changes), "tiny.yaml")


def environment(**more: str) -> dict[str, str]:
    """Environment for subprocesses: this interpreter's commands first, one thread each."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **more}


def nfa(*arguments: object, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the ``nfa`` command as a user would."""
    command = [sys.executable, "-m", "nfa", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=300)
