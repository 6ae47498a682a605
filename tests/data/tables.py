"""Small tables of two classes, and functions that plan a sweep on them; shared by the tests of files."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nfa.errors import SweepError
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from tests.helpers import tiny

RNG = np.random.default_rng(1)
N = 40
LABELS = np.repeat([0, 1], N // 2)  # sorted by class
NAMES = np.array(["no", "yes"])[LABELS]
A, B = RNG.normal(size=(2, N)).round(3)


def frame(**more: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": A, "b": B, **more, "target": NAMES})


def document(*data: dict[str, Any]) -> dict[str, Any]:
    model = "transformer" if any("vocabulary" in entry for entry in data) else "mlp"
    return tiny(data=list(data), model=[{"name": model}], optimizer=[{"name": "sgd"}])


def planned(path: str, **keys: Any) -> Sweep:
    return parse(document({"name": "file", "path": path, **keys}), "my.yaml")


def refused(path: str, **keys: Any) -> str:
    """Plan a sweep on an unusable file, and return the error message."""
    with pytest.raises(SweepError) as caught:
        planned(path, **keys)
    message = str(caught.value)
    assert message.startswith("my.yaml: data[0]: ")
    assert "\n" not in message
    assert len(message) < 1000
    return message


def text(content: str | bytes, name: str = "t.csv") -> str:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def csv_of(table: pd.DataFrame, **keys: Any) -> str:
    table.to_csv("t.csv", index=False, **keys)
    return "t.csv"


def parquet_of(table: pd.DataFrame | pa.Table) -> str:
    if isinstance(table, pd.DataFrame):
        table.to_parquet("t.parquet")
    else:
        pq.write_table(table, "t.parquet")
    return "t.parquet"


WAYS_OUT = ("remove the column from the file", "features: [a, b]")
