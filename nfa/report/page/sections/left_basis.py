"""K in the left singular basis of the weights, over training, as pictures."""

from collections.abc import Sequence

import numpy as np

from nfa.report.figures import left_bases, matrices
from nfa.report.numbers import UNDEFINED, number, plural
from nfa.report.page.html import Safe, el
from nfa.report.page.sections.section import Answer, Material, Section
from nfa.report.page.sentences import pooled
from nfa.report.page.svg import Live, render
from nfa.report.statistics.left_bases import LeftBasis
from nfa.report.statistics.matrix_albums import Album
from nfa.report.statistics.study import Study

NOT_KEPT = "No pictures of K in the left singular basis of the weights were kept."


def over_training(study: Study, albums: Sequence[Album]) -> Answer:
    """Give the range of the directional factor of the pictured layers, at the first and the last checkpoint."""
    bases = [basis for album in albums for basis in album.left_bases]
    if not bases:
        return Answer("", NOT_KEPT)
    ends = [(basis.moments[0].numbers, basis.moments[-1].numbers) for basis in bases]
    first, last, chance = (
        range_of(np.array([pair[at][name] for pair in ends]))
        for at, name in ((0, "directional"), (-1, "directional"), (-1, "directional_haar"))
    )
    verdict = (
        f"The directional factor of the layers shown is {first} at the first checkpoint and {last} at the last one; "
        f"there, a K with the same eigenvalues and random directions has {chance}."
    )
    numbers = (
        "W = USVᵀ is the singular value decomposition of a layer's weights. Each square shows |UᵀKU| over W's "
        "directions, the strongest at the top left: dark blue is 0, yellow is the largest entry of the square. The "
        "directional factor is 1 where K is diagonal, so that the square is dark off the diagonal. The plot shows the "
        "weight κᵢ = uᵢᵀKuᵢ that K gives to each direction, against the strength aᵢ = sᵢ² of the direction. Where K is "
        "diagonal and κ is proportional to aᵖ, the AGOP to the power 1/(1 + p) is proportional to the NFM."
    )
    context = (
        f"{plural(len(bases), 'layer')} of one run per cell: the first layer, the layer whose speed is raised, and the "
        f"middle one of three or more hidden layers ({study.measured_with})."
        f"{pooled(study, [album.cell for album in albums])}"
    )
    return Answer("", verdict, numbers, context)


def range_of(values: np.ndarray) -> str:
    """Write range and median of the finite values."""
    values = values[np.isfinite(values)]
    if not len(values):
        return UNDEFINED
    return f"{number(values.min())} to {number(values.max())} (median {number(float(np.median(values)))})"


def _layer(study: Study, album: Album, basis: LeftBasis, prefix: str, live: Live) -> Safe:
    """Show one layer of a run: |U^T K U| at three checkpoints, and kappa against a."""
    label = study.row(album.cell)["optimizer"]
    squares = []
    for moment in basis.moments:
        shown = left_bases.picture(moment)
        image = el(
            "img",
            src=matrices.data_uri(shown),
            alt=f"{shown.title} of {basis.layer}, {label}, step {moment.step}",
            width=shown.values.shape[1],
            height=shown.values.shape[0],
        )
        squares.append(el("figure", image, el("figcaption", left_bases.caption(moment))))
    panel = left_bases.panel(basis)
    return el(
        "div",
        el("h4", el("i", cls="swatch", style=f"--c:var(--o{study.optimizer(album.cell) % 8})"), label),
        el("p", f"{basis.layer} ({basis.role}), seed {album.seed}", cls="note"),
        el("div", squares, cls="triple"),
        el("figure", render(panel, prefix, live)),
        cls="album",
    )


def body(material: Material) -> list[object]:
    """Make the pictures of each layer of interest of each run that is shown."""
    study, blocks = material.study, list[object]()
    for group, cells in study.groups.items():
        found = [(album, basis) for album in material.albums if album.cell in cells for basis in album.left_bases]
        shown = [
            _layer(study, album, basis, f"basis{len(blocks)}-{index}", material.live)
            for index, (album, basis) in enumerate(found)
        ]
        if shown:
            blocks += [el("h4", group), el("div", shown, cls="albums")]
    if blocks:
        note = (
            f"At most {left_bases.POINTS} directions of a layer are drawn as points: the {left_bases.STRONGEST} "
            "strongest ones, and others evenly by rank, without those whose strength is below "
            f"{left_bases.WEAKEST:g} of the largest. The area of a point grows with the weight a² with which the "
            "direction counts in the slope p."
        )
        blocks.append(el("p", note, cls="note"))
    return blocks


SECTION = Section(
    anchor="left-basis",
    name="left singular basis",
    question="Does K become diagonal in the left singular basis of the weights?",
    answer=lambda material, _: over_training(material.study, material.albums),
    fixed=True,
    body=body,
)
