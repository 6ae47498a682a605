"""Pictures of matrices that overflowed: grey entries, a caption that says so, and no warning."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nfa.report.figures import matrices
from nfa.report.figures.files import drawings
from nfa.report.page.contents import render_sections
from nfa.report.page.sections import pictures
from nfa.report.page.sections.section import Material
from nfa.report.statistics import matrix_albums
from nfa.report.statistics.matrix_albums import Picture, find_albums
from nfa.report.statistics.study import Study
from nfa.storage.arrays import read_arrays, write_arrays
from tests.helpers import tiny_sweep
from tests.report.studies import study_of

pytestmark = pytest.mark.filterwarnings("error")
GREY = [0x99, 0x99, 0x99]
DATA = [
    {"name": "fashion_mini", "n_train": 200, "n_test": 100},  # diagonals and eigenvectors are kept
    {"name": "digits"},  # images too, but the matrices are kept whole
    {"name": "chain_monomial", "dim": 150, "n_train": 128, "n_test": 64},  # shown in blocks of 2 x 2
]


@pytest.fixture(params=[np.nan, np.inf, -np.inf], ids=str)
def diverged(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    """A sweep whose first layers overflowed at the last checkpoint: the NFM in part, the AGOP altogether."""
    study = study_of(tiny_sweep(seeds=1, data=DATA, optimizer=[{"name": "sgd"}]), tmp_path)
    for cell in study.shown:
        path = study.paths.cell(cell).matrices
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for name, array in arrays.items():
            _, step, layer, what = name.split("/")
            if step == "0" or layer != "hidden0":
                continue
            if what in ("nfm", "nfm_diagonal"):
                array[..., 0] = request.param
                array[..., 1] = -request.param
            elif what.startswith("agop"):
                array[:] = request.param
        write_arrays(path, arrays)
    return study


def test_what_is_not_finite_is_grey_and_nothing_else(diverged: Study) -> None:
    assert len(find_albums(diverged)) == 3
    for album in find_albums(diverged):
        before, after = ([matrices.colours(picture) for picture in moment.pictures] for moment in album.moments)
        for picture in before:
            assert not (picture == GREY).all(axis=-1).any()
        nfm, agop = ((picture == GREY).all(axis=-1) for picture in after)
        assert agop.all()
        assert nfm.any()
        assert not nfm.all()


@pytest.mark.parametrize("signed", [True, False])
def test_entries_that_are_not_finite_are_grey_and_others_are_scaled_by_the_largest_finite_one(signed: bool) -> None:
    values = np.array([[np.inf, 2.0], [-np.inf, np.nan], [1.0, 0.0]])
    grey = (matrices.colours(Picture("NFM", values, signed)) == GREY).all(axis=-1)
    assert grey.tolist() == [[True, False], [True, True], [False, False]]
    finite = matrices.colours(Picture("NFM", np.array([[2.0, 1.0, 0.0]]), signed))
    shown = matrices.colours(Picture("NFM", values, signed))
    assert [shown[0, 1].tolist(), shown[2, 0].tolist(), shown[2, 1].tolist()] == finite[0].tolist()


def test_the_captions_say_what_is_grey(diverged: Study) -> None:
    page = pictures.SECTION.render(Material(diverged, find_albums(diverged))).html.split('id="left-basis"')[0]
    captions = [text.split("</figcaption>")[0] for text in page.split("<figcaption>")[1:]]
    first, last, vectors = captions[:3]  # of an image
    assert first.startswith("step 0: UC-NFC 0.")
    assert "grey" not in first
    assert last.endswith("; grey: not finite")
    assert vectors.endswith("; grey: there is none")
    assert [caption.endswith("grey: not finite") for caption in captions[6:]] == [False, True]


def test_the_figure_in_a_file_says_so_too(diverged: Study) -> None:
    diverged.paths.figures.mkdir()
    matrices.save_albums(diverged, find_albums(diverged), diverged.paths.figures / "matrices")
    assert (diverged.paths.figures / "matrices.svg").read_text().count("; grey: not finite") == 2 * 3


def test_arrays_are_read_once_for_the_page_and_the_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(tiny_sweep(seeds=1, data=DATA[:1], optimizer=[{"name": "sgd"}]), tmp_path)
    read: list[Path] = []

    def counted(path: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
        read.append(path)
        return read_arrays(path, wanted)

    monkeypatch.setattr(matrix_albums, "read_arrays", counted)
    found = find_albums(study)
    drawings(study, found)["matrices"](tmp_path / "matrices")
    render_sections(Material(study, found))
    assert len(read) == 1  # of one cell
