"""Pictures of a run: NFM beside AGOP, spectra, and K in the left singular basis of the weights.

The first layer's NFM and AGOP and all layers' spectra are drawn at the first and the last checkpoint. K in the left
singular basis of each layer's weights W = U S V^T is drawn at the middle one as well: |U^T K U|, and kappa_i = u_i^T K
u_i against a_i = s_i^2.

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
SPAN = 3  # decades of strengths and of kappa, below the largest
DOTS = (2, 8)  # pixels on a side of the weakest and of the strongest direction
LAYERS = 12  # largest number of panels; of deeper networks the first and last layers are shown
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
    """Draw what was kept at each step of ``matrices``.

    If the inputs of the first layer are pixels, the diagonals are drawn as an image: it shows the pixels that matter.

    Args:
        matrices: ``step/layer/name`` -> matrix, diagonal or spectrum.
        layers: Names of the layers in forward order.
        input_shape: Shape of one sample; channels x height x width for images.
    """
    pictures: list[RunPicture] = []
    for step in steps_of(matrices):
        place = f"{step}/{layers[0]}"
        if not matrices.keys().isdisjoint({f"{place}/nfm", f"{place}/nfm_diagonal"}):
            panels = [_panel(matrices, f"{place}/{name}", input_shape) for name in ("nfm", "agop")]
            part = "diagonal over pixels" if _is_image(matrices, place, input_shape) else "matrix"
            caption = f"NFM | AGOP of layer 0 ({layers[0]}), {part}, step {step}, each scaled to its own range"
            pixels = _join(*(_enlarge(_colour(panel)) for panel in panels))
            pictures += [
                RunPicture("nfm_agop_0", step, caption, pixels),
                _spectra_picture(matrices, layers, step),
            ]
        if f"{place}/left_k" in matrices:
            pictures += _left_pictures(matrices, layers, step)
    return tuple(pictures)


def _spectra_picture(matrices: Mapping[str, np.ndarray], layers: Sequence[str], step: int) -> RunPicture:
    """Draw each layer's eigenvalues, relative to the leading one, over their index, relative to their number."""
    shown, panels = _shown(layers), []
    for number in shown:
        panel = np.full((SIDE, SIDE, 3), 240, dtype=np.uint8)
        for name, (_, colour) in SPECTRA.items():
            _draw(panel, matrices.get(f"{step}/{layers[number]}/{name}_spectrum", np.empty(0)), colour)
        panels.append(panel)
    colours = ", ".join(f"{name.upper()} {colour}" for name, (colour, _) in SPECTRA.items())
    which = _named(shown)
    scale = f"eigenvalues / the leading one, 1 down to 1e-{DECADES} (log), over index"
    return RunPicture("spectra", step, f"Spectra of {which} at step {step}: {colours}; {scale}", _join(*panels))


def _shown(layers: Sequence[str]) -> Sequence[int]:
    """Choose the layers that get a panel."""
    half = LAYERS // 2
    return range(len(layers)) if len(layers) <= LAYERS else [*range(half), *range(len(layers) - half, len(layers))]


def _named(shown: Sequence[int]) -> str:
    """Name the layers that have a panel."""
    return f"layers {', '.join(str(number) for number in shown)}"


def _left_pictures(matrices: Mapping[str, np.ndarray], layers: Sequence[str], step: int) -> list[RunPicture]:
    """Draw |U^T K U| of each layer, and kappa against a."""
    shown = _shown(layers)
    places = [f"{step}/{layers[number]}" for number in shown]
    squares = [_to_side(_colour(matrices[f"{place}/left_k"], low=0.0)) for place in places]
    dots = [_kappa_panel(matrices[f"{place}/strengths"], matrices[f"{place}/kappa"]) for place in places]
    basis = f"left singular basis of W, strongest direction first, of {_named(shown)} at step {step}"
    axes = f"kappa = u^T K u upwards, a = s^2 to the right, of {_named(shown)} at step {step}"
    scale = f"both from the largest down to 1e-{SPAN} of it (log), dots by a, the diagonal has slope 1"
    return [
        RunPicture("left_k", step, f"|U^T K U| in the {basis}, from 0 to the largest entry", _join(*squares)),
        RunPicture("kappa", step, f"{axes}, {scale}", _join(*dots)),
    ]


def _to_side(pixels: np.ndarray) -> np.ndarray:
    """Resize a picture, height x width x 3, to ``SIDE`` x ``SIDE`` by repeating pixels."""
    rows, columns = (np.arange(SIDE) * size // SIDE for size in pixels.shape[:2])
    resized: np.ndarray = pixels[rows[:, None], columns]
    return resized


def _kappa_panel(strengths: np.ndarray, kappa: np.ndarray) -> np.ndarray:
    """Draw a dot for each direction at (log a, log kappa) where both exist, strong ones over weak ones."""
    panel = np.full((SIDE, SIDE, 3), 240, dtype=np.uint8)
    used = (strengths > 0) & (kappa > 0) & np.isfinite(strengths) & np.isfinite(kappa)
    if not used.any():
        return panel
    a, k = strengths[used].astype(np.float64), kappa[used].astype(np.float64)
    x, y = (1 + np.log10(values / values.max()) / SPAN for values in (a, k))
    for order in np.argsort(a, kind="stable"):
        size = round(DOTS[0] + (DOTS[1] - DOTS[0]) * a[order] / a.max())
        left, top = (round(place * (SIDE - size)) for place in (x[order], 1 - y[order]))
        if left >= 0 and top <= SIDE - size:
            panel[top : top + size, left : left + size] = SPECTRA["k"][1]
    return panel


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


def _colour(values: np.ndarray, low: float | None = None) -> np.ndarray:
    """Map values from ``low``, or their minimum, to maximum to viridis colours, and those not finite to grey."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    lowest, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    low = lowest if low is None else low
    place = np.where(finite, values - low, 0.0) / (high - low if high > low else 1.0) * (len(ANCHORS) - 1)
    channels = [np.interp(place, np.arange(len(ANCHORS)), ANCHORS[:, channel]) for channel in range(3)]
    coloured = np.stack(channels, axis=-1).round().astype(np.uint8)
    coloured[~finite] = 128
    return coloured
