"""Pictures of the neural feature matrix beside the average gradient outer product."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from nfa.conventions import HEADLINE
from nfa.report.figures import matrices
from nfa.report.numbers import UNDEFINED, number, plural
from nfa.report.page.answers import Answer, pooled
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Section, lead, make_section
from nfa.report.statistics.matrix_albums import Album, Picture
from nfa.report.statistics.study import Study


def matrices_section(study: Study, albums: Sequence[Album]) -> Section:
    """Pictures of the matrices of each run."""
    answer = pictured(study, albums)
    blocks: list[Safe] = []
    for group, cells in study.groups.items():
        found = [album for album in albums if album.cell in cells]
        if found:
            blocks += [el("h3", group), el("div", [_album(study, album) for album in found], cls="albums")]
    return make_section("pictures", "pictures", "NFM beside AGOP", lead(answer), blocks)


def _album(study: Study, album: Album) -> Safe:
    """Show one run's first layer: NFM and AGOP at step 0 and at the last checkpoint."""
    label = f"{study.row(album.cell)['optimizer']}"
    parts = []
    for moment in album.moments:
        undefined = matrices.grey(moment.pictures, "not finite")
        caption = f"step {moment.step:,}: UC-NFC {number(moment.correlation)}{undefined}"
        pictures = [_picture(picture, f"{label}, step {moment.step}") for picture in moment.pictures]
        parts.append(el("figure", el("div", pictures, cls="pair"), el("figcaption", caption)))
        if moment.eigenvectors:
            vectors = [_picture(picture, f"{label}, step {moment.step}") for picture in moment.eigenvectors]
            half = len(vectors) // 2
            rows = [
                el("div", el("span", name), row) for name, row in (("NFM", vectors[:half]), ("AGOP", vectors[half:]))
            ]
            undefined = matrices.grey(moment.eigenvectors, "there is none")
            caption = f"leading eigenvectors at step {moment.step:,}{undefined}"
            parts.append(el("figure", el("div", rows, cls="vectors"), el("figcaption", caption)))
    colour = study.optimizer(album.cell) % 8
    what = {"diagonal": "diagonals in the input's shape", "whole": "whole matrices"}[album.kind]
    head = el("h4", el("i", cls="swatch", style=f"--c:var(--o{colour})"), label)
    return el(
        "div",
        head,
        el("p", f"{album.layer}, seed {album.seed}, {what}", cls="note"),
        el("div", parts, cls="moments"),
        cls="album",
    )


def _picture(picture: Picture, where: str) -> Safe:
    height, width = picture.values.shape
    image = el(
        "img",
        src=matrices.data_uri(picture),
        alt=f"{picture.title}, {where}",
        title=picture.title,
        width=width,
        height=height,
    )
    return el("span", image, el("small", picture.title.split(",")[0]))


def pictured(study: Study, albums: Sequence[Album]) -> Answer:
    """NFM beside AGOP: the first layers that are shown, at the first and the last checkpoint."""
    if not albums:
        return Answer(UNDEFINED, "No matrices were kept.")
    moments = [(album.moments[0], album.moments[-1]) for album in albums]
    first, last = (np.array([moment.correlation for moment in at], dtype=float) for at in zip(*moments, strict=True))
    over = pooled(study, [album.cell for album in albums])
    text = (
        f"First layer of one run per cell ({HEADLINE}; {study.measured_with}): UC-NFC of the whole matrices "
        f"is {_range(first)} at step 0 and "
        f"{_range(last)} at the last checkpoint, over {plural(len(last), 'run')}.{over} Each picture has its own scale."
    )
    medians = [number(pd.Series(values).median()) for values in (first, last)]
    return Answer(f"first layer {' → '.join(medians)}", text)


def _range(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    if not len(values):
        return UNDEFINED
    return f"{number(values.min())} to {number(values.max())} (median {number(float(np.median(values)))})"
