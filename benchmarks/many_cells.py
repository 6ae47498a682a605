"""Planning and aggregating many cells: seconds and memory against their number, with stages that only write files.

python benchmarks/many_cells.py 1000 3000 10000

Every cell gets small files in the true format (3 seeds, one hidden layer, two checkpoints): what is timed is reading
and joining them, and Snakemake's planning, before anything is there.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nfa.sweep.grid import load
from tests.fake_results import write_alike

ROOT = Path(__file__).resolve().parents[1]


def grid(cells: int) -> dict[str, Any]:
    """Describe a sweep of so many cells: 10 widths x learning rates."""
    return {
        "sweep": "many",
        "seeds": 3,
        "data": [{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}],
        "model": [{"name": "mlp", "depth": 1, "width": list(range(8, 28, 2))}],
        "optimizer": [{"name": "sgd", "lr": [round(0.001 * (i + 1), 4) for i in range(-(-cells // 10))]}],
        "train": {"steps": 30, "batch_size": 32, "checkpoints": 1},
        "measure": {"samples": 50},
    }


def timed(command: list[object], folder: Path) -> tuple[float, float, float]:
    """Run a command; return its wall time, its core-seconds, and the peak of its memory in GiB."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)
    started, log = time.perf_counter(), (folder / "log").open("w")
    process = subprocess.Popen(list(map(str, command)), cwd=folder, env=environment, stdout=log, stderr=log)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "log").read_text()[-2000:])
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def main() -> None:
    """Print one line for each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=int, nargs="+")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    print("| cells | step | wall s | core-s | GiB |\n| --- | --- | --- | --- | --- |")
    for cells in options.cells:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            config = folder / "many.yaml"
            config.write_text(yaml.safe_dump(grid(cells)))
            profile = ["--workflow-profile", ROOT / "profiles" / "default", "--configfile", config]
            steps = {
                "expand": ["nfa", "expand", config],
                "plan": ["snakemake", "-n", "-q", "--cores", 2, "-s", ROOT / "Snakefile", "-d", folder, *profile],
                "aggregate": ["nfa", "aggregate", config],
            }
            for step, command in steps.items():
                if step == "aggregate":
                    write_alike(load(config), folder / "results", np.random.default_rng(0))
                wall, used, memory = timed(command, folder)
                print(f"| {cells:,} | {step} | {wall:.1f} | {used:.1f} | {memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
