"""What the later stages need of a trained cell."""

import json
from collections.abc import Iterable
from typing import Any

from nfa.errors import UserError
from nfa.paths import CellPaths


def finished_runs(paths: CellPaths, seeds: Iterable[int]) -> dict[int, dict[str, Any]]:
    """Return what cell.json says of each seed's run: its status, last step and checkpoints.

    Raises:
        UserError: The cell, or one of the seeds, is not trained.
    """
    try:
        runs = json.loads(paths.cell.read_text())["runs"]
    except FileNotFoundError:
        raise UserError(f"{paths.cell}: not there; run `nfa train` for this cell first") from None
    except (json.JSONDecodeError, KeyError):
        raise UserError(f"{paths.cell}: damaged; remove it and run `nfa train` for this cell again") from None
    missing = [seed for seed in seeds if str(seed) not in runs]
    if missing:
        raise UserError(f"{paths.cell}: seed {missing[0]} is not trained; run `nfa train` for this cell first")
    return {seed: runs[str(seed)] for seed in seeds}
