"""What the pictures of NFM and AGOP show: the first layer of one run per cell, at step 0 and at the last checkpoint.

For inputs that are images and a first layer that sees all of them: the diagonals and leading eigenvectors in the shape
of the input (mean over channels). Otherwise: the whole matrices. Entries that are not finite are NaN.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfa.conventions import HEADLINE
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study
from nfa.storage.arrays import read_arrays

EIGENVECTORS = 4
MATRICES = {"nfm": "NFM", "agop": "AGOP"}
LARGEST_PICTURE = 128  # pixels a side; a larger matrix is averaged in blocks


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        title: ``NFM`` or ``AGOP``, of what.
        values: (height, width) values, float64; NaN where they are not finite.
        signed: Whether zero is in the middle of the scale.
    """

    title: str
    values: np.ndarray
    signed: bool


@dataclass(frozen=True)
class Moment:
    """The first layer of a run at one checkpoint.

    Attributes:
        step: The checkpoint.
        correlation: UC-NFC of the layer there, in the headline convention.
        pictures: NFM and AGOP.
        eigenvectors: Leading eigenvectors of NFM, then of AGOP; empty where they are no images.
    """

    step: int
    correlation: float
    pictures: list[Picture]
    eigenvectors: list[Picture]


@dataclass(frozen=True)
class Album:
    """One run's first layer.

    Attributes:
        cell: The cell.
        seed: The run's seed.
        layer: The layer's name.
        kind: ``diagonal`` or ``whole``.
        moments: Step 0 and the last checkpoint.
    """

    cell: str
    seed: int
    layer: str
    kind: str
    moments: list[Moment]


def find_albums(study: Study) -> list[Album]:
    """One album per shown cell: its first seed that finished, or its first."""
    found = (_album(study, cell) for cells in study.groups.values() for cell in cells)
    return [album for album in found if album is not None]


def _album(study: Study, cell: str) -> Album | None:
    document = study.collected.documents[cell]
    path = study.paths.cell(cell).matrices
    if not path.exists():
        return None
    runs: dict[str, dict[str, Any]] = document["runs"]
    seeds = study.collected.sweep.seeds
    seed = next((seed for seed in seeds if runs[str(seed)]["status"] == "finished"), seeds[0])
    layer = document["layers"][0]["name"]
    shape = document["data"]["input_shape"]
    as_image = len(shape) == 3 and math.prod(shape) == document["layers"][0]["fan_in"]
    last = max(runs[str(seed)]["checkpoints"], default=0)
    moments = []
    keys = {step: f"{seed}/{step}/{layer}/" for step in (0, last)}
    found = read_arrays(path, lambda name: name.startswith(tuple(keys.values())))
    for step, key in keys.items():
        arrays = {name.removeprefix(key): _finite(array) for name, array in found.items() if name.startswith(key)}
        pictures = _diagonals(arrays, shape) if as_image else _whole(arrays)
        vectors = _eigenvectors(arrays, shape) if as_image and step == last else []
        if pictures:
            moments.append(Moment(step, _correlation(study, cell, seed, step), pictures, vectors))
    return Album(cell, seed, layer, "diagonal" if as_image else "whole", moments) if moments else None


def _correlation(study: Study, cell: str, seed: int, step: int) -> float:
    """Look up the first layer's UC-NFC of one run at one step."""
    table = study.collected.alignment
    here = table[(table["cell"] == cell) & (table["seed"] == seed) & (table["step"] == step)]
    here = here[(here["quantity"] == "uc_nfc") & (here["layer_index"] == 0) & at_convention(here, HEADLINE)]
    return float(here["value"].iloc[0]) if len(here) else math.nan


def _finite(values: np.ndarray) -> np.ndarray:
    """Return float64 values, NaN for what overflowed: sums of them are then NaN too, without a warning."""
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def _whole(arrays: dict[str, np.ndarray]) -> list[Picture]:
    return [Picture(title, _shrunk(arrays[name]), True) for name, title in MATRICES.items() if name in arrays]


def _diagonals(arrays: dict[str, np.ndarray], shape: list[int]) -> list[Picture]:
    pictures = []
    for name, title in MATRICES.items():
        diagonal = arrays.get(f"{name}_diagonal", np.diagonal(arrays[name]) if name in arrays else None)
        if diagonal is not None:
            pictures.append(Picture(f"{title}, diagonal", diagonal.reshape(shape).mean(axis=0), False))
    return pictures


def _eigenvectors(arrays: dict[str, np.ndarray], shape: list[int]) -> list[Picture]:
    pictures = []
    for name, title in MATRICES.items():
        vectors = arrays.get(f"{name}_eigenvectors")
        if vectors is None and name in arrays:
            matrix = arrays[name]
            defined = np.isfinite(matrix).all()
            vectors = np.linalg.eigh(matrix)[1].T[::-1] if defined else np.full_like(matrix, np.nan)
        for rank, vector in enumerate(vectors[:EIGENVECTORS] if vectors is not None else [], start=1):
            image = vector.reshape(shape).mean(axis=0)
            # An eigenvector's sign means nothing: the largest entry is shown positive.
            image = image * (np.sign(image.flat[np.abs(image).argmax()]) or 1)
            pictures.append(Picture(f"{title}, eigenvector {rank}", image, True))
    return pictures


def _shrunk(matrix: np.ndarray) -> np.ndarray:
    """Average a matrix in blocks to a picture's size."""
    block = -(-len(matrix) // LARGEST_PICTURE)
    edges = range(0, len(matrix), block)
    sums = np.add.reduceat(np.add.reduceat(matrix, edges, axis=0), edges, axis=1)
    sizes = np.diff([*edges, len(matrix)])
    return np.asarray(sums / np.outer(sizes, sizes))
