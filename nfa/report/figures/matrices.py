"""Pictures of NFM beside AGOP: the albums of ``nfa.report.statistics.matrix_albums``, in colours.

Every picture has its own scale, because the AGOP changes by orders of magnitude over training. Where values may be
negative, zero is in the middle of the scale. Entries that are not finite (of a run that diverged) are grey, and the
caption says so.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from nfa.report.figures.saving import write_figure
from nfa.report.figures.style import styled
from nfa.report.numbers import number
from nfa.report.statistics.matrix_albums import MATRICES, Album, Picture
from nfa.report.statistics.study import Study

FILE_ROWS = 24  # most albums in the figure's file


def grey(pictures: Sequence[Picture], reason: str) -> str:
    """End a caption with the reason why entries are grey; empty where none is."""
    return f"; grey: {reason}" if any(np.isnan(picture.values).any() for picture in pictures) else ""


def colours(picture: Picture) -> np.ndarray:
    """Map values to (height, width, 3) bytes: red, green, blue. Values that are not finite are grey."""
    finite = np.isfinite(picture.values)
    largest = np.abs(picture.values[finite]).max(initial=0.0)
    scaled = np.divide(picture.values, largest, out=np.zeros(finite.shape), where=finite & (largest > 0))
    scaled = np.ma.array((scaled + 1) / 2 if picture.signed else scaled, mask=~finite)
    colour_map = mpl.colormaps["RdBu_r" if picture.signed else "cividis"].with_extremes(bad="#999999")
    return np.asarray(colour_map(scaled, bytes=True))[..., :3]


def data_uri(picture: Picture) -> str:
    """Return the picture as a PNG in a data URI, one pixel per value."""
    stream = io.BytesIO()
    Image.fromarray(colours(picture)).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def save_albums(study: Study, albums: Sequence[Album], path: Path) -> None:
    """Write the first albums as one figure: a row per cell, NFM and AGOP at step 0 and the last checkpoint."""
    found = albums[:FILE_ROWS]
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
