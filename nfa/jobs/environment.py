"""Device and threads of a job, and the provenance that is stored with its results."""

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

_threads_set: set[int] = set()  # the number of threads that was set last; empty before
PACKAGES = ("torch", "numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "safetensors", "snakemake", "wandb")


def set_threads(threads: int) -> None:
    """Limit torch, BLAS and OpenMP to a number of threads.

    Sums are split over threads, so two runs give the same bits only with the same number of threads.
    """
    import threadpoolctl
    import torch

    if threads in _threads_set:
        return  # finding all libraries takes as long as a training step of a small network
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    _threads_set.clear()
    _threads_set.add(threads)


def choose_device(name: str) -> Any:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a torch device.

    Raises:
        UserError: CUDA was asked for, but torch sees no GPU.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no GPU; use --device cpu or auto")
    if name == "cuda":
        # On a CPU our operations are deterministic anyway, and this call imports torch's compiler, which takes 1.1 s.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device(name)


def describe_device(device: Any) -> str:
    """Return the name of a device, for provenance."""
    import torch

    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


@cache
def provenance() -> dict[str, Any]:
    """Return the versions, the commit and the machine that results are computed with. They are looked up once."""
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
    """Return the commit of the source tree, with ``+`` if it has changes; None for an installed package."""
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
    """Return the model name of the processor."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
