"""Peak memory of one variant, in a process of its own.

    .venv/bin/python benchmarks/memory.py narrow exact --threads 2

prints the bytes that the variant needed beyond the network, the samples and what is loaded on first use. Linux only:
the peak is the kernel's (VmHWM), not what an allocator says.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import baselines
import library
import torch
from networks import CASES, TINY

VARIANTS = {
    "layerwise": baselines.one_at_a_time,
    "joint": baselines.all_at_once,
    "exact": library.exact,
    "sketched": library.sketched,
}


def peak(case: str, variant: str, threads: int) -> int:
    """Measure in a fresh process; bytes."""
    command = [sys.executable, __file__, case, variant, "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _status(key: str) -> int:
    """Read a size of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


def main() -> None:
    """Print the bytes of one variant."""
    parser = argparse.ArgumentParser(description="Peak memory of one variant.")
    parser.add_argument("case", choices=CASES)
    parser.add_argument("variant", choices=VARIANTS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    VARIANTS[options.variant](*TINY.build())
    model, inputs = CASES[options.case].build()
    before = _status("VmRSS")
    VARIANTS[options.variant](model, inputs)
    print(_status("VmHWM") - before)


if __name__ == "__main__":
    main()
