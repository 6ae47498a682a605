"""K in the left singular basis of the weights as pictures: which layers, on which scale, and the fitted line."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from nfa.report.figures import left_bases as figures
from nfa.report.figures.files import drawings
from nfa.report.figures.left_bases import caption, panel, save_left_bases, slope
from nfa.report.figures.matrices import colours
from nfa.report.page.sections import pictures
from nfa.report.page.sections.section import Material
from nfa.report.statistics.left_bases import layers_of_interest, left_bases
from nfa.report.statistics.matrix_albums import find_albums
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import drawn, study_of

pytestmark = pytest.mark.filterwarnings("error")
RAISED = {"name": "slo", "speeds": {"hidden1": 1, "others": 0.1}}
DATA = [{"name": "chain_monomial", "dim": 8, "rank": 3, "n_train": 128, "n_test": 64}]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One cell of SGD and one of SLO; kappa is 5 a at first and 5 a^2 at last, and the table has these slopes."""
    model = [{"name": "mlp", "depth": 5, "width": 40}]
    sweep = tiny_sweep(seeds=1, data=DATA, model=model, optimizer=[{"name": "sgd"}, RAISED])
    made = study_of(sweep, tmp_path_factory.mktemp("results"))
    table = made.collected.alignment
    kept = table[(table["quantity"] == "uc_nfc") & (table["correlation"] == "cosine") & (table["power"] == "1")]
    kept = kept.assign(correlation=None, power=None)
    numbers: dict[str, Any] = {"spectrum_slope": 1.0 + (kept["step"] > 0), "directional": 0.5, "directional_haar": 0.25}
    rows = [kept.assign(quantity=name, value=value) for name, value in numbers.items()]
    table = pd.concat([table[~table["quantity"].isin(numbers)], *rows], ignore_index=True)
    return replace(made, collected=replace(made.collected, alignment=table))


def test_layers_of_interest(study: Study) -> None:
    plain, raised = study.collected.sweep.cells
    names = [layer.name for layer in plain.layers]
    assert layers_of_interest(plain, names) == {"hidden0": "first layer", "hidden2": "middle hidden layer"}
    assert layers_of_interest(raised, names) == {
        "hidden0": "first layer",
        "hidden1": "raised layer",
        "hidden2": "middle hidden layer",
    }
    shallow = tiny_sweep(optimizer=[RAISED]).cells[0]
    names = [layer.name for layer in shallow.layers]
    assert layers_of_interest(shallow, names) == {"hidden0": "first layer", "hidden1": "raised layer"}
    cut = [*names[:1], "hidden1.0", "hidden1.1", *names[2:]]  # as of a projection that was measured head by head
    roles = {"hidden0": "first layer", "hidden1.0": "raised layer, middle hidden layer"}
    assert layers_of_interest(shallow, cut) == roles


def test_every_layer_of_interest_is_shown_at_three_checkpoints(study: Study) -> None:
    steps = study.collected.sweep.cells[0].train.checkpoint_steps(128)
    for album in find_albums(study):
        names = [name for name, *_ in study.layers(album.cell)]
        expected = layers_of_interest(study.collected.sweep.by_id[album.cell], names)
        assert {basis.layer: basis.role for basis in album.left_bases} == expected
        for basis in album.left_bases:
            assert [moment.step for moment in basis.moments] == [steps[0], steps[len(steps) // 2], steps[-1]]


def test_pictures_share_one_scale_that_starts_at_zero(study: Study) -> None:
    """The largest entry of each is 1, so that equal entries have equal colours at all checkpoints."""
    basis = find_albums(study)[0].left_bases[0]
    scale: dict[int, tuple[int, ...]] = {}
    for moment in basis.moments:
        shown = figures.picture(moment)
        assert shown.values.max() == 1
        for value, colour in zip(moment.left_k.ravel(), colours(shown).reshape(-1, 3), strict=True):
            assert scale.setdefault(min(int(value * 256), 255), tuple(colour)) == tuple(colour)
    diagonal = replace(basis.moments[0], left_k=np.array([[1.0, 0.0], [0.0, 0.5]]))
    expected = mpl.colormaps["cividis"]([1.0, 0.0], bytes=True)[:, :3]  # from end to end
    assert (colours(figures.picture(diagonal))[0] == expected).all()
    assert scale[255] == tuple(expected[0])


def test_points_and_lines_are_where_kappa_and_the_slope_are(study: Study) -> None:
    """Lines go through the points, which are kappa = 5 a at first and 5 a^2 at last; strong directions are large."""
    basis = find_albums(study)[0].left_bases[1]
    (axes,) = drawn(panel(basis))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    for moment, power, colour in (
        (basis.moments[0], 1, figures.COLOURS[0]),
        (basis.moments[-1], 2, figures.COLOURS[2]),
    ):
        mine = [line for line in axes.lines if line.get_color() == colour]
        points = [line for line in mine if line.get_linestyle() == "None"]
        (line,) = (line for line in mine if line.get_linestyle() == "-")
        assert sum(np.size(part.get_xdata()) for part in points) == figures.POINTS
        for part in (*points, line):
            a, kappa = (np.asarray(values, dtype=float) for values in part.get_data())
            np.testing.assert_allclose(kappa, 5 * a**power, rtol=1e-5)
        sizes = {part.get_markersize(): np.min(part.get_xdata()) for part in points}
        assert sorted(sizes) == sorted(sizes, key=sizes.__getitem__)
        assert len(sizes) > 1
        assert slope(moment) == f"step {moment.step}: p = {power}.00, 1/(1 + p) = {1 / (1 + power):.2f}"
    assert [text.get_text() for text in axes.texts] == [f"● {slope(moment)}" for moment in basis.moments]
    assert caption(basis.moments[0]) == "step 0: directional 0.50, by chance 0.25"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (-1.5, "p = −1.50, p ≤ −1, so that no power fits"),
        (np.nan, "slope undefined"),
        (0.0, "p = 0.00, 1/(1 + p) = 1.00"),
    ],
)
def test_slopes_without_a_power_say_so(study: Study, p: float, text: str) -> None:
    moment = find_albums(study)[0].left_bases[0].moments[0]
    assert slope(replace(moment, numbers=moment.numbers | {"spectrum_slope": p})) == f"step 0: {text}"


def test_the_page_and_the_file_show_every_layer(study: Study, tmp_path: Path) -> None:
    albums = find_albums(study)
    page = pictures.SECTION.render(Material(study, albums)).html
    shown = page[page.index('id="left-basis"') :]
    assert shown.count("<svg") == 2 + 3
    assert shown.count("<img") == 3 * (2 + 3)
    assert "hidden1 (raised layer), seed 0" in shown
    assert "is 0.50 to 0.50 (median 0.50) at the first checkpoint" in shown
    save_left_bases(study, albums, tmp_path / "left_bases")
    text = (tmp_path / "left_bases.svg").read_text()
    assert len(re.findall(r"hidden1 \(raised layer\), seed 0", text)) == 1
    assert text.count("directional 0.50, by chance 0.25") == 3 * (2 + 3)


def test_k_that_is_not_finite_is_grey_and_leaves_the_axes_empty(study: Study, tmp_path: Path) -> None:
    album = find_albums(study)[0]
    undefined = [
        replace(moment, left_k=moment.left_k * np.nan, kappa=moment.kappa * np.nan)
        for moment in album.left_bases[0].moments
    ]
    basis = replace(album.left_bases[0], moments=undefined)
    assert (colours(figures.picture(undefined[0])) == 0x99).all()
    assert caption(undefined[0]).endswith("; grey: K is not finite")
    assert not drawn(panel(basis))[0].lines
    save_left_bases(study, [replace(album, left_bases=[basis])], tmp_path / "left_bases")


def test_results_without_these_arrays_have_no_such_pictures(study: Study) -> None:
    albums = [replace(album, left_bases=[]) for album in find_albums(study)]
    assert left_bases({"hidden0": "first layer"}, {}, study.collected.alignment) == []
    page = pictures.SECTION.render(Material(study, albums)).html
    assert "No pictures of K in the left singular basis of the weights were kept." in page
    assert "left_bases" not in drawings(study, albums)
