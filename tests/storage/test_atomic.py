"""A process that is killed while it writes leaves temporary files, which the next attempt to write removes."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nfa.storage.checkpoints import load_tensors
from tests.helpers import environment

# SIGXFSZ at a limit of the file's size is a kill at a known instant: with the file half written.
SAVING = """
import resource, signal, sys
from pathlib import Path
import pandas as pd
import torch
from nfa.storage.checkpoints import save_tensors
from nfa.storage.columns import TIMINGS
from nfa.storage.tables import write_table

folder, kind, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if kind == "weights":
    save_tensors(folder / "file", {"weight": torch.arange(100_000)}, {"step": "7"})
else:
    rows = range(100_000)
    columns = {"stage": map(str, rows), "seed": rows, "seconds": 0.5, "peak_memory_mib": 1.0}
    write_table(folder / "file", pd.DataFrame(columns), TIMINGS)
"""


@pytest.mark.parametrize("kind", ["weights", "table"])
def test_what_a_kill_in_the_middle_leaves_the_next_writing_removes(kind: str, tmp_path: Path) -> None:
    def save(limit: int) -> int:
        command = [sys.executable, "-c", SAVING, str(tmp_path), kind, str(limit)]
        return subprocess.run(command, env=environment(), timeout=120).returncode

    for limit in (1, 100_000):
        assert save(limit) == -signal.SIGXFSZ
    left = list(tmp_path.iterdir())
    assert left, "nothing was cut off"
    assert not (tmp_path / "file").exists()
    assert save(0) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    if kind == "weights":
        assert load_tensors(tmp_path / "file", {"step": "7"})[0]["weight"].tolist() == list(range(100_000))
