"""The values in the pictures of one run per cell.

NFM and AGOP are those of the first layer, at the first and last checkpoint; K in the left singular basis of the weights
is that of the layers of interest (``left_bases``), at the middle checkpoint as well.

Where the inputs are images and the first layer sees whole images, an album holds the diagonals and the leading
eigenvectors in the shape of the input (mean over channels). Otherwise it holds the whole matrices. Entries that are not
finite are NaN.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfa.conventions import HEADLINE
from nfa.report.statistics.left_bases import ARRAYS, NUMBERS, LeftBasis, layers_of_interest, left_bases
from nfa.report.statistics.runs import at_convention
from nfa.report.statistics.study import Study
from nfa.storage.arrays import read_arrays

EIGENVECTORS = 4
MATRICES = {"nfm": "NFM", "agop": "AGOP"}
LARGEST_SIDE = 128  # pixels of a picture; a larger matrix is averaged in blocks


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        title: ``NFM`` or ``AGOP``, and which part of it.
        values: (height, width) values, float64; NaN where they are not finite.
        signed: True if zero belongs in the middle of the colour scale.
    """

    title: str
    values: np.ndarray
    signed: bool


@dataclass(frozen=True)
class Moment:
    """The first layer of a run at one checkpoint.

    Attributes:
        step: The checkpoint.
        correlation: UC-NFC of the layer at that step, in the headline convention.
        pictures: NFM and AGOP.
        eigenvectors: Leading eigenvectors of NFM, then of AGOP; empty where inputs are not images.
    """

    step: int
    correlation: float
    pictures: list[Picture]
    eigenvectors: list[Picture]


@dataclass(frozen=True)
class Album:
    """One run.

    Attributes:
        cell: The cell.
        seed: The run's seed.
        layer: The first layer's name.
        kind: ``diagonal`` or ``whole``: the part of the matrices that ``Moment.pictures`` shows.
        moments: The first layer at step 0 and at the last checkpoint.
        left_bases: K in the left singular basis of the weights, of the layers of interest.
    """

    cell: str
    seed: int
    layer: str
    kind: str
    moments: list[Moment]
    left_bases: list[LeftBasis]


def find_albums(study: Study) -> list[Album]:
    """Make an album of each shown cell that kept matrices: of its first seed that finished, else of its first seed."""
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
    layers = [name for name, *_ in study.layers(cell)]
    layer = layers[0]
    shape = document["data"]["input_shape"]
    as_image = len(shape) == 3 and math.prod(shape) == document["layers"][0]["fan_in"]
    steps = sorted({0, max(runs[str(seed)]["checkpoints"], default=0)})
    of_interest = layers_of_interest(study.collected.sweep.by_id[cell], layers)

    def wanted(key: str) -> bool:
        run, step, name, kind = key.split("/")
        here = name in of_interest if kind in ARRAYS else name == layer and int(step) in steps
        return run == str(seed) and here

    arrays = {_place(key): array for key, array in read_arrays(path, wanted).items()}
    moments = []
    for step in steps:
        found = {kind: _finite(array) for (name, at, kind), array in arrays.items() if (name, at) == (layer, step)}
        pictures = _diagonals(found, shape) if as_image else _whole(found)
        vectors = _eigenvectors(found, shape) if as_image and step == steps[-1] else []
        if pictures:
            moments.append(Moment(step, _correlation(study, cell, seed, step), pictures, vectors))
    if not moments:
        return None
    table = study.collected.alignment
    values = table[(table["cell"] == cell) & (table["seed"] == seed) & table["quantity"].isin(NUMBERS)]
    bases = left_bases(of_interest, arrays, values)
    return Album(cell, seed, layer, "diagonal" if as_image else "whole", moments, bases)


def _place(key: str) -> tuple[str, int, str]:
    """Return layer, step and name of an array.

    >>> _place("0/30/hidden1/left_k")
    ('hidden1', 30, 'left_k')
    """
    _, step, layer, kind = key.split("/")
    return layer, int(step), kind


def _correlation(study: Study, cell: str, seed: int, step: int) -> float:
    """Look up the first layer's UC-NFC of one run at one step."""
    table = study.collected.alignment
    here = table[(table["cell"] == cell) & (table["seed"] == seed) & (table["step"] == step)]
    here = here[(here["quantity"] == "uc_nfc") & (here["layer_index"] == 0) & at_convention(here, HEADLINE)]
    return float(here["value"].iloc[0]) if len(here) else math.nan


def _finite(values: np.ndarray) -> np.ndarray:
    """Return float64 values with NaN where they overflowed, so that sums of them are NaN without a warning."""
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def _whole(arrays: dict[str, np.ndarray]) -> list[Picture]:
    return [Picture(title, _block_means(arrays[name]), True) for name, title in MATRICES.items() if name in arrays]


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
            # An eigenvector's sign is arbitrary: turn the entry of largest size positive.
            image = image * (np.sign(image.flat[np.abs(image).argmax()]) or 1)
            pictures.append(Picture(f"{title}, eigenvector {rank}", image, True))
    return pictures


def _block_means(matrix: np.ndarray) -> np.ndarray:
    """Average a matrix in blocks, to at most ``LARGEST_SIDE`` rows and columns."""
    block = -(-len(matrix) // LARGEST_SIDE)
    edges = range(0, len(matrix), block)
    sums = np.add.reduceat(np.add.reduceat(matrix, edges, axis=0), edges, axis=1)
    sizes = np.diff([*edges, len(matrix)])
    return np.asarray(sums / np.outer(sizes, sizes))
