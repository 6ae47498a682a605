"""Pictures of a run: NFM beside AGOP of the first layer, at the first and last checkpoint. No randomness in them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nfa.tracking.wide import steps_of

# Viridis at nine places (matplotlib's colours, without its half second of import).
ANCHORS = np.array(
    [
        (68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140),
        (40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37),
    ]
)  # fmt: skip
SIDE = 192  # pixels a picture's side is enlarged to, at least half
GAP = 8  # white pixels between the two


@dataclass(frozen=True)
class Picture:
    """One picture: ``pixels`` is height x width x 3 (red, green, blue), uint8."""

    name: str
    step: int
    caption: str
    pixels: np.ndarray


def pictures_of(
    matrices: Mapping[str, np.ndarray], layers: Sequence[str], input_shape: Sequence[int]
) -> tuple[Picture, ...]:
    """Draw the first layer's NFM and AGOP at each step that has them; keys are ``step/layer/name``.

    Where the layer's inputs are the pixels of an image, the diagonals are drawn as that image: which pixels matter.
    """
    pictures = []
    for step in steps_of(matrices):
        place = f"{step}/{layers[0]}"
        panels = [_panel(matrices, f"{place}/{name}", input_shape) for name in ("nfm", "agop")]
        what = "diagonal over pixels" if _is_image(matrices, place, input_shape) else "matrix"
        caption = f"NFM | AGOP of layer 0 ({layers[0]}), {what}, step {step}, each scaled to its own range"
        pictures.append(Picture("nfm_agop_layer_0", step, caption, _beside(*panels)))
    return tuple(pictures)


def _is_image(matrices: Mapping[str, np.ndarray], place: str, input_shape: Sequence[int]) -> bool:
    return len(input_shape) == 3 and len(_diagonal(matrices, f"{place}/nfm")) == math.prod(input_shape)


def _diagonal(matrices: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    return np.diagonal(matrices[key]) if key in matrices else matrices[f"{key}_diagonal"]


def _panel(matrices: Mapping[str, np.ndarray], key: str, input_shape: Sequence[int]) -> np.ndarray:
    """Values to draw, height x width: the pixels' diagonal, the whole matrix, or a strip of its diagonal."""
    if _is_image(matrices, key.rpartition("/")[0], input_shape):
        channels, height, width = input_shape
        shown: np.ndarray = _diagonal(matrices, key).reshape(channels, height, width).sum(axis=0)
        return shown
    if key in matrices:
        return matrices[key]
    return np.tile(_diagonal(matrices, key), (16, 1))


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Colour two panels of one shape and put them side by side."""
    white = np.full((_enlarge(left).shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([_colour(_enlarge(left)), white, _colour(_enlarge(right))], axis=1)


def _enlarge(values: np.ndarray) -> np.ndarray:
    """Repeat entries so that small matrices can be seen."""
    factor = max(1, SIDE // max(values.shape))
    return values.repeat(factor, axis=0).repeat(factor, axis=1)


def _colour(values: np.ndarray) -> np.ndarray:
    """Colour values by their place between minimum and maximum; grey where they are not finite."""
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 0.0)
    place = np.where(finite, values - low, 0.0) / (high - low if high > low else 1.0) * (len(ANCHORS) - 1)
    channels = [np.interp(place, np.arange(len(ANCHORS)), ANCHORS[:, channel]) for channel in range(3)]
    coloured = np.stack(channels, axis=-1).round().astype(np.uint8)
    coloured[~finite] = 128
    return coloured
