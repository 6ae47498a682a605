"""Pictures of the neural feature matrix beside the average gradient outer product."""

from collections.abc import Sequence

import numpy as np

from nfa.conventions import HEADLINE
from nfa.report.figures import matrices
from nfa.report.numbers import number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.sections import left_basis
from nfa.report.page.sections.left_basis import range_of
from nfa.report.page.sections.section import Answer, Material, Section
from nfa.report.page.sentences import pooled
from nfa.report.statistics.matrix_albums import Album, Picture
from nfa.report.statistics.study import Study


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
    kind = {"diagonal": "diagonals in the shape of the input", "whole": "whole matrices"}[album.kind]
    head = el("h4", el("i", cls="swatch", style=f"--c:var(--o{colour})"), label)
    return el(
        "div",
        head,
        el("p", f"{album.layer}, seed {album.seed}, {kind}", cls="note"),
        el("div", parts, cls="moments"),
        cls="album",
    )


def _picture(picture: Picture, where: str) -> Safe:
    """Make one picture, with its title below."""
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
    """Give the range of UC-NFC of the pictured layers at the first and the last checkpoint."""
    if not albums:
        return Answer("", "No matrices were kept.")
    moments = [(album.moments[0], album.moments[-1]) for album in albums]
    first, last = (np.array([moment.correlation for moment in at], dtype=float) for at in zip(*moments, strict=True))
    over = pooled(study, [album.cell for album in albums])
    verdict = (
        f"UC-NFC of the first layer is {range_of(first)} at step 0 and {range_of(last)} at the last checkpoint, over "
        f"{plural(len(last), 'run')} (one per cell)."
    )
    numbers = "The pictures show the matrices of these layers. Each picture has a colour scale of its own."
    context = f"Convention: {HEADLINE}, of the whole matrices ({study.measured_with}).{over}"
    return Answer("", verdict, numbers, context)


def body(material: Material) -> list[object]:
    """Make the pictures of each run that is shown."""
    blocks: list[object] = []
    for group, cells in material.study.groups.items():
        found = [album for album in material.albums if album.cell in cells]
        if found:
            blocks += [el("h3", group), el("div", [_album(material.study, album) for album in found], cls="albums")]
    return blocks


SECTION = Section(
    anchor="pictures",
    name="pictures",
    question="How do NFM and AGOP look?",
    answer=lambda material, _: pictured(material.study, material.albums),
    fixed=True,
    body=body,
    below=(left_basis.SECTION,),
)
