"""NFM beside AGOP as pictures: the first layer of one run per cell, at initialisation and at the last checkpoint.

For inputs that are images and a first layer that sees all of them: the diagonals and leading eigenvectors in the shape
of the input (mean over channels). Otherwise: the whole matrices. Every picture has its own scale, because the AGOP's
differs by orders of magnitude over training; zero is in the middle where values may be negative. Entries that are not
finite, as of a run that diverged, are grey, and the caption says so.
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nfa.report.conventions import HEADLINE
from nfa.report.figures.panels import write_figure
from nfa.report.figures.style import styled
from nfa.report.markup import number
from nfa.report.runs import at_convention
from nfa.report.study import Study
from nfa.tables import read_arrays

EIGENVECTORS = 4
MATRICES = {"nfm": "NFM", "agop": "AGOP"}
LARGEST_PICTURE = 128  # pixels a side; a larger matrix is averaged in blocks
FILE_ROWS = 24  # of the figure's file


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


def albums(study: Study) -> list[Album]:
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
    for step in dict.fromkeys((0, last)):
        key = f"{seed}/{step}/{layer}/"
        found = read_arrays(path, lambda name, key=key: name.startswith(key))  # type: ignore[misc]
        arrays = {name.removeprefix(key): _finite(array) for name, array in found.items()}
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


def grey(pictures: Sequence[Picture], why: str) -> str:
    """End a caption: why entries are grey; empty where none is."""
    return f"; grey: {why}" if any(np.isnan(picture.values).any() for picture in pictures) else ""


def colours(picture: Picture) -> np.ndarray:
    """Map values to (height, width, 3) bytes; undefined values are grey."""
    values, largest = picture.values, np.nanmax(np.abs(picture.values), initial=0.0)
    scaled = values / largest if largest > 0 else values
    scaled = np.ma.masked_invalid((scaled + 1) / 2 if picture.signed else scaled)
    colour_map = mpl.colormaps["RdBu_r" if picture.signed else "cividis"].with_extremes(bad="#999999")
    return np.asarray(colour_map(scaled, bytes=True))[..., :3]


def data_uri(picture: Picture) -> str:
    """Return the picture as a PNG in a data URI, one pixel per value."""
    stream = io.BytesIO()
    Image.fromarray(colours(picture)).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def save_albums(study: Study, path: Path) -> None:
    """Write the first albums, if any, as one figure: a row per cell, NFM and AGOP at step 0 and the last checkpoint."""
    found = albums(study)[:FILE_ROWS]
    if not found:
        return
    columns = 2 * len(MATRICES)
    with styled():
        figure = Figure(figsize=(columns * 1.7, len(found) * 2.05), facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(found), columns, squeeze=False)
        for row, album in zip(grid, found, strict=True):
            for axes in row:
                axes.set_axis_off()
            pictures = [(moment, picture) for moment in album.moments for picture in moment.pictures]
            for axes, (moment, picture) in zip(row, pictures, strict=False):
                axes.imshow(colours(picture), interpolation="nearest")
                title = f"{picture.title}{grey([picture], 'not finite')}"
                axes.set_title(f"{title}\nstep {moment.step}, UC-NFC {number(moment.correlation)}", fontsize=7)
            row[0].text(0, -0.06, study.row(album.cell)["label"], fontsize=7, transform=row[0].transAxes, va="top")
        figure.subplots_adjust(left=0.02, right=0.98, bottom=0.02, top=0.97, wspace=0.08, hspace=0.45)
        write_figure(figure, path)
