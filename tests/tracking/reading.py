"""Reading offline runs back with W&B's own reader, `wandb leet inspect`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCUMENT: dict[str, Any] = {
    "sweep": "small",
    "seeds": [0, 3],
    "data": [{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 64}, {"name": "fashion_mini"}],
    "model": [
        {"name": "mlp", "width": 8, "depth": 2, "for": {"data": "chain_monomial"}},
        {"name": "conv", "width": 4, "depth": 2, "for": {"data": "fashion_mini"}},
    ],
    "optimizer": [{"name": "sgd", "lr": 0.5}],
    "train": {"steps": 20, "checkpoints": 3},
    "wandb": {"mode": "offline", "project": "nfa-test"},
}
ONLINE = {**DOCUMENT, "wandb": {"mode": "online", "project": "nfa-test"}}


def run_folders(folder: Path) -> list[Path]:
    """Folders of runs below a tracker's folder."""
    return sorted(path for path in folder.glob("*run-*") if path.is_dir())


def records(folder: Path) -> list[dict[str, Any]]:
    """Every record of one run's log, in order, as W&B's reader prints it."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Logged:
    """One offline run, read back."""

    def __init__(self, folder: Path) -> None:
        """Read all records of the run in ``folder``."""
        self.folder = folder
        self.records = records(folder)
        self.run: dict[str, Any] = self.of("run")[0]
        self.config: dict[str, Any] = self.run["config"]["update"]
        self.history: list[dict[str, Any]] = [record["item"] for record in self.of("history")]
        self.summary: dict[str, Any] = {}
        for record in self.of("summary"):
            self.summary |= record["update"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Contents of all records of one kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    def series(self, step: str) -> dict[int, dict[str, Any]]:
        """Rows of history that have this step metric, by step."""
        rows = [item for item in self.history if step in item]
        assert len({item[step] for item in rows}) == len(rows)
        return {item[step]: dict(item) for item in rows}

    def table(self, name: str) -> list[dict[str, Any]]:
        """Rows of a logged table, from its file in the run's folder."""
        content = json.loads((self.folder / "files" / self.summary[f"tables/{name}.path"]).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def number(value: Any) -> float:
    """Undo what the log does to values that are no JSON numbers."""
    return float(value)


def same(left: Any, right: float) -> bool:
    """Equal, or both undefined."""
    return number(left) == right or (number(left) != number(left) and right != right)
