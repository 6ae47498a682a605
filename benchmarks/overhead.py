"""What a sweep costs beside the work of its stages: wall time x cores - seconds inside the stages, as a share.

python benchmarks/overhead.py config/config.yaml              the default sweep
python benchmarks/overhead.py --tiny 200                      so many cells of about a second each
python benchmarks/overhead.py --cold ...                      every job its own interpreter, as off Linux

The sweep runs in a folder of its own. The seconds of train, measure and probe are those of ``timings.parquet``: what
joins and writes the files of a cell is overhead. aggregate and publish are run once more in this process alone when all
is imported, and what they take is inside too. A core that waits while one of them is still at work is overhead.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import nfa.stages.publish as publishing
from nfa.jobs.environment import choose_device, set_threads
from nfa.stages.aggregate import aggregate
from nfa.stages.measure import measure
from nfa.stages.options import StageOptions
from nfa.stages.probe import probe
from nfa.stages.publish import publish
from nfa.stages.train import train
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import load

ROOT = Path(__file__).resolve().parents[1]
SUBREAPER = 36  # prctl: orphans below become ours, so that their time is counted


def tiny(cells: int) -> dict[str, Any]:
    """Describe a sweep of small networks on real and synthetic data, 3 seeds."""
    rates = [round(0.02 * (index + 1), 4) for index in range(-(-cells // 8))]
    return {
        "sweep": "tiny",
        "seeds": 3,
        "data": [
            {"name": "fashion_mini", "n_train": 500, "n_test": 200},
            {"name": "chain_monomial", "dim": 16, "rank": 3, "n_train": 256, "n_test": 128},
        ],
        "model": [{"name": "mlp", "depth": [1, 2], "width": [16, 32]}],
        "optimizer": [{"name": "sgd", "lr": rates}],
        "train": {"steps": 100, "batch_size": 32, "checkpoints": 4},
        "measure": {"samples": 200},
    }


def run(config: Path, folder: Path, cores: int, cold: bool) -> tuple[float, float]:
    """Run the sweep; return its wall time and the core-seconds of all its processes."""
    command = ["snakemake", "--cores", str(cores), "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--workflow-profile", ROOT / "profiles" / "default", "--configfile", config]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if cold:
        environment["TMPDIR"] = "/nonexistent"
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, env=environment, stdout=sys.stderr)
    wall = time.perf_counter() - started
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def inside(sweep: Sweep, results: Path) -> dict[str, float]:
    """Seconds inside each stage."""
    timings = pd.concat(pd.read_parquet(path) for path in (results / sweep.name).glob("*/timings.parquet"))
    seconds = {str(stage): float(part.sum()) for stage, part in timings.groupby("stage")["seconds"]}
    shutil.rmtree(results / sweep.name / "wandb", ignore_errors=True)
    publishing.MANY_RUNS = sys.maxsize  # one process, so that its seconds are core-seconds
    for stage, work in (("aggregate", aggregate), ("publish", publish)):
        started = time.perf_counter()
        work(sweep, results)
        seconds[stage] = time.perf_counter() - started
    return seconds


def alone(sweep: Sweep, results: Path) -> float:
    """Core-seconds of the same work in this process, all imported: what a sweep without overhead would use."""
    set_threads(1)
    device = choose_device("cpu")
    train(sweep, sweep.cells[0], StageOptions(results / "first", device))  # what torch loads at its first step
    started = time.process_time()
    for stage in (train, measure, probe):
        for cell in sweep.cells:
            stage(sweep, cell, StageOptions(results, device))
    aggregate(sweep, results)
    publish(sweep, results)
    return time.process_time() - started


def main() -> None:
    """Run one sweep and print the account."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=ROOT / "config" / "config.yaml")
    parser.add_argument("--tiny", type=int, metavar="CELLS")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--busy", action="store_true", help="compare core-seconds, where others use the machine too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "sweep.yaml"
        config.write_text(yaml.safe_dump(tiny(options.tiny)) if options.tiny else options.config.read_text())
        wall, used = run(config, folder, options.cores, options.cold)
        if options.busy:
            work = alone(load(config), folder / "again")
            print(f"core-seconds used {used:.0f}, of the work alone {work:.0f}: {1 - work / used:.1%} beside it")
            return
        seconds = inside(load(config), folder / "results")
    total = wall * options.cores
    stages = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
    print(f"wall {wall:.1f} s on {options.cores} cores = {total:.0f} core-s, of which processes used {used:.0f}")
    print(f"inside the stages {sum(seconds.values()):.0f} core-s: {stages}")
    print(f"overhead {1 - sum(seconds.values()) / total:.1%} of {total:.0f} core-s")


if __name__ == "__main__":
    main()
