"""What a job computes with: device and threads, and what is written down about them."""

import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nfa import __version__
from nfa.errors import UserError

_settled: set[int] = set()  # the number of threads that was set last
PACKAGES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "safetensors", "snakemake", "wandb")


def set_threads(threads: int) -> None:
    """Keep torch, BLAS and OpenMP to this many threads.

    Sums are split over threads, so their number is part of what makes two runs give the same bits.
    """
    import threadpoolctl
    import torch

    if threads in _settled:
        return  # finding all libraries takes as long as a small step of training
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    _settled.clear()
    _settled.add(threads)


def choose_device(name: str) -> Any:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a torch device.

    Raises:
        UserError: CUDA is asked for and not there.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no GPU; use --device cpu or auto")
    if name == "cuda":
        # On a CPU our operations are deterministic as they are, and this call imports torch's compiler (1.1 s).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(name)


def describe_device(device: Any) -> str:
    """Name a device for provenance."""
    import torch

    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


@cache
def provenance() -> dict[str, Any]:
    """Say where numbers come from: versions, commit, machine. Looked up once."""
    return {
        "nfa": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the source tree this runs from, with ``+`` where it has changes; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        options: dict[str, Any] = {"cwd": here, "capture_output": True, "text": True, "timeout": 10, "check": True}
        commit: str = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()
        changed: str = subprocess.run(["git", "status", "--porcelain", "-uno"], **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _processor() -> str:
    """Model name of the processor, as the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
