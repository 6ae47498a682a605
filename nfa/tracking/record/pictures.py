"""Pictures of a run at its first and last checkpoint: the first layer's NFM beside its AGOP, and all layers' spectra.

The pictures are drawn with numpy alone, without text, and are the same bytes for the same results; captions describe
their content.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nfa.tracking.record.tables import steps_of

# Nine colours of matplotlib's map viridis, copied because importing matplotlib takes half a second.
ANCHORS = np.array(
    [
        (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
        (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
    ]
)  # fmt: skip
SIDE = 192  # pixels; small matrices are enlarged to between half of this side and all of it
GAP = 8  # white pixels between two panels
DECADES = 8  # eigenvalues are shown down to 1e-8 of the leading one, the precision of float32
LAYERS = 12  # largest number of spectra panels; of deeper networks the first and last layers are shown
SPECTRA = {"nfm": ("orange", (213, 94, 0)), "agop": ("blue", (0, 114, 178)), "k": ("green", (0, 158, 115))}


@dataclass(frozen=True)
class RunPicture:
    """One picture of a run; ``pixels`` is height x width x 3 (red, green, blue), uint8."""

    name: str
    step: int
    caption: str
    pixels: np.ndarray


def pictures_of(
    matrices: Mapping[str, np.ndarray], layers: Sequence[str], input_shape: Sequence[int]
) -> tuple[RunPicture, ...]:
    """Draw the first layer's NFM and AGOP, and all layers' spectra, at each step of ``matrices``.

    If the inputs of the first layer are pixels, the diagonals are drawn as an image: it shows the pixels that matter.

    Args:
        matrices: ``step/layer/name`` -> matrix, diagonal or spectrum.
        layers: Names of the layers in forward order.
        input_shape: Shape of one sample; channels x height x width for images.
    """
    pictures = []
    for step in steps_of(matrices):
        place = f"{step}/{layers[0]}"
        panels = [_panel(matrices, f"{place}/{name}", input_shape) for name in ("nfm", "agop")]
        what = "diagonal over pixels" if _is_image(matrices, place, input_shape) else "matrix"
        caption = f"NFM | AGOP of layer 0 ({layers[0]}), {what}, step {step}, each scaled to its own range"
        pictures.append(RunPicture("nfm_agop_layer_0", step, caption, _join(*(_enlarge(_colour(p)) for p in panels))))
        pictures.append(_spectra_picture(matrices, layers, step))
    return tuple(pictures)


def _spectra_picture(matrices: Mapping[str, np.ndarray], layers: Sequence[str], step: int) -> RunPicture:
    """Draw each layer's eigenvalues, relative to the leading one, over their index, relative to their number."""
    half = LAYERS // 2
    shown = range(len(layers)) if len(layers) <= LAYERS else [*range(half), *range(len(layers) - half, len(layers))]
    panels = []
    for number in shown:
        panel = np.full((SIDE, SIDE, 3), 240, dtype=np.uint8)
        for name, (_, colour) in SPECTRA.items():
            _draw(panel, matrices.get(f"{step}/{layers[number]}/{name}_spectrum", np.empty(0)), colour)
        panels.append(panel)
    colours = ", ".join(f"{name.upper()} {colour}" for name, (colour, _) in SPECTRA.items())
    which = f"layers {', '.join(str(number) for number in shown)}"
    scale = f"eigenvalues / the leading one, 1 down to 1e-{DECADES} (log), over index"
    return RunPicture("spectra", step, f"Spectra of {which} at step {step}: {colours}; {scale}", _join(*panels))


def _draw(panel: np.ndarray, spectrum: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw descending eigenvalues into a panel as a line two pixels thick; draw nothing unless the first is > 0."""
    values = spectrum.astype(np.float64)
    if len(values) == 0 or not np.isfinite(values).all() or values[0] <= 0:
        return
    decades = -np.log10(np.maximum(values / values[0], 10.0**-DECADES))
    places = np.interp(np.linspace(0, len(values) - 1, SIDE), np.arange(len(values)), decades)
    start = np.round(places / DECADES * (SIDE - 2)).astype(int)
    end = np.maximum(start, np.append(start[1:], start[-1])) + 2
    lengths = end - start
    above = np.repeat(np.cumsum(lengths) - lengths - start, lengths)  # for each pixel: its running number minus its row
    panel[np.arange(lengths.sum()) - above, np.repeat(np.arange(SIDE), lengths)] = colour


def _is_image(matrices: Mapping[str, np.ndarray], place: str, input_shape: Sequence[int]) -> bool:
    return len(input_shape) == 3 and len(_diagonal(matrices, f"{place}/nfm")) == math.prod(input_shape)


def _diagonal(matrices: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    return np.diagonal(matrices[key]) if key in matrices else matrices[f"{key}_diagonal"]


def _panel(matrices: Mapping[str, np.ndarray], key: str, input_shape: Sequence[int]) -> np.ndarray:
    """Return the values to draw, height x width: the diagonal as an image, the matrix, or its diagonal as a strip."""
    if _is_image(matrices, key.rpartition("/")[0], input_shape):
        channels, height, width = input_shape
        shown: np.ndarray = _diagonal(matrices, key).reshape(channels, height, width).sum(axis=0)
        return shown
    if key in matrices:
        return matrices[key]
    return np.tile(_diagonal(matrices, key), (16, 1))


def _join(*panels: np.ndarray) -> np.ndarray:
    """Join panels of equal height, each height x width x 3, from left to right."""
    white = np.full((panels[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([part for panel in panels for part in (white, panel)][1:], axis=1)


def _enlarge(pixels: np.ndarray) -> np.ndarray:
    """Repeat pixels of a picture, height x width x 3, so that small matrices are large enough to see."""
    factor = max(1, SIDE // max(pixels.shape[:2]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _colour(values: np.ndarray) -> np.ndarray:
    """Map values from minimum to maximum to viridis colours, and values that are not finite to grey."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    place = np.where(finite, values - low, 0.0) / (high - low if high > low else 1.0) * (len(ANCHORS) - 1)
    channels = [np.interp(place, np.arange(len(ANCHORS)), ANCHORS[:, channel]) for channel in range(3)]
    coloured = np.stack(channels, axis=-1).round().astype(np.uint8)
    coloured[~finite] = 128
    return coloured
