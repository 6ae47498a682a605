"""The plain record of a run: a pure function of a cell's files."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nfa.data import DATA
from nfa.storage.documents import cell_document
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking.record.cell_files import CellResults, read_results
from nfa.tracking.record.pictures import SPECTRA, pictures_of
from nfa.tracking.record.run import RunRecord, begun_record, build_record
from nfa.tracking.record.tables import tables_of
from tests.helpers import tiny_sweep
from tests.tracking.conftest import Published
from tests.tracking.reading import DOCUMENT


@pytest.fixture
def cell_results(published: Published) -> CellResults:
    """Files of the vector task's cell."""
    return read_results(published.paths.cell(published.sweep.cells[0].id))


def record(sweep: Sweep, results: CellResults) -> RunRecord:
    """Record of the first cell's first seed."""
    return build_record(sweep, sweep.cells[0], 0, results)


def test_id_depends_on_content_alone(sweep: Sweep, cell_results: CellResults) -> None:
    """The id does not depend on the sweep's name and the timings, but on every value."""
    first = record(sweep, cell_results)
    renamed = record(parse({**DOCUMENT, "sweep": "other"}, "test"), cell_results)
    slower = record(sweep, replace(cell_results, timings=cell_results.timings.assign(seconds=9.0)))
    alignment = cell_results.alignment.assign(value=cell_results.alignment["value"] * (1 + 1e-15))
    assert first.id == renamed.id == slower.id
    assert renamed.tags[0] == "other"
    assert slower.summary["seconds/total"] == 27.0
    assert record(sweep, replace(cell_results, alignment=alignment)).id != first.id
    assert build_record(sweep, sweep.cells[0], 3, cell_results).id != first.id


def test_inputs_are_not_changed(sweep: Sweep, cell_results: CellResults) -> None:
    """Laying out a run changes neither frames nor arrays nor the document."""
    before = copy.deepcopy(cell_results)
    record(sweep, cell_results)
    for name in ("history", "alignment", "probes", "timings"):
        pd.testing.assert_frame_equal(getattr(cell_results, name), getattr(before, name))
    assert cell_results.document == before.document
    assert all(np.array_equal(array, before.matrices[key]) for key, array in cell_results.matrices.items())


@pytest.mark.parametrize("reached", [True, False, None])
def test_a_run_says_whether_it_reached_its_training_loss(
    sweep: Sweep, cell_results: CellResults, reached: bool | None
) -> None:
    document = copy.deepcopy(cell_results.document)
    if reached is not None:
        document["runs"]["0"]["reached"] = reached
    summary = record(sweep, replace(cell_results, document=document)).summary
    assert summary.get("reached") is reached


def test_diverged_run_has_not_learned(sweep: Sweep, cell_results: CellResults) -> None:
    """A diverged run is published as a result, but has no values that a mean over trained networks could include."""
    document = copy.deepcopy(cell_results.document)
    document["runs"]["0"] |= {"status": "diverged", "last_step": 7}
    history = cell_results.history
    marked = pd.concat([history, history.head(1).assign(step=7, split="train", metric="diverged", value=1.0)])
    summary = record(sweep, replace(cell_results, document=document, history=marked)).summary
    assert (summary["diverged"], summary["learned"], summary["last_step"]) == (True, False, 7)
    assert summary["diverged_at_step"] == 7
    assert not [name for name in summary if name.startswith(("final/", "best_probe/", "features/"))]
    assert math.isfinite(summary["predicted/c_nfc"])  # of the untrained network


def test_a_run_that_did_not_learn_has_its_curves_and_no_final_values(sweep: Sweep, cell_results: CellResults) -> None:
    history = cell_results.history.assign(value=0.09)  # the loss of the best constant prediction
    published = record(sweep, replace(cell_results, history=history))
    assert (published.summary["diverged"], published.summary["learned"]) == (False, False)
    assert "diverged_at_step" not in published.summary
    assert not [name for name in published.summary if name.startswith(("final/", "best_probe/", "features/"))]
    assert published.series[0].rows[-1]["test/loss"] == 0.09
    assert "alignment/uc_nfc/mean" in published.series[1].rows[-1]


def test_undefined_values_leave_the_mean_and_keep_their_reason(sweep: Sweep, cell_results: CellResults) -> None:
    """An undefined value is NaN in a series, and None with a reason in a table."""
    frame = cell_results.alignment.copy()
    chosen = (frame["quantity"] == "c_nfc") & (frame["layer_index"] == 0) & (frame["step"] == 20)
    frame.loc[chosen, "value"] = float("nan")
    frame.loc[chosen, "note"] = "0/0: speed 0"
    run = record(sweep, replace(cell_results, alignment=frame))
    last = run.series[1].rows[-1]
    assert math.isnan(last["alignment/c_nfc/0"])
    assert last["alignment/c_nfc/mean"] == last["alignment/c_nfc/1"]
    table = run.tables["alignment"]
    row = next(dict(zip(table.names, row, strict=True)) for row in table.rows if row[:2] == [20, 0])
    assert row["c_nfc cosine 1"] is None
    assert "c_nfc cosine 1" in row["notes"]
    assert "0/0: speed 0" in row["notes"]
    json.dumps(table.rows, allow_nan=False)


def test_readouts_are_named_by_their_depth_wherever_they_stand(sweep: Sweep, cell_results: CellResults) -> None:
    names = [layer["name"] for layer in cell_results.document["layers"]]
    for depths, keys in (
        ((0, 1, 1), ["readout", "1", "2"]),  # the last layer is followed by another map, or leads to another readout
        ((1, 0, 0), ["0", "readout", "readout_2"]),
        ((1, 1, 1), ["0", "1", "2"]),
    ):
        depth = cell_results.alignment["layer"].map(dict(zip(names, depths, strict=True)))
        run = record(sweep, replace(cell_results, alignment=cell_results.alignment.assign(depth_from_output=depth)))
        assert list(run.config["layers"]) == keys
        assert {f"alignment/uc_nfc/{key}" for key in (*keys, "mean")} == {
            name for name in run.series[1].rows[-1] if name.startswith("alignment/uc_nfc/")
        }


def test_a_layer_is_named_before_the_measurement_as_after_it(cell_results: CellResults) -> None:
    function = {"name": "tests.tracking.networks:squashed"}
    sweep = tiny_sweep(data=[{"name": "fashion_mini"}], model=[function])
    cell = sweep.cells[0]
    document = cell_document(sweep, cell, {}, {})
    nothing = cell_results.alignment.head(0)
    begun = begun_record(sweep, cell, 0, document, cell_results.history, nothing, cell_results.probes.head(0))
    assert list(begun.config["layers"]) == ["0", "1"]  # the last layer is no readout: a sigmoid follows it


def test_estimates_show_their_standard_error(cell_results: CellResults) -> None:
    """Only estimated quantities have a column of standard errors."""
    layers = [layer["name"] for layer in cell_results.document["layers"]]
    frame = cell_results.alignment[cell_results.alignment["seed"] == 0].copy()
    frame.loc[frame["quantity"] == "uc_nfc", "stderr"] = 0.01
    names = tables_of(frame, cell_results.probes, {}, layers)["alignment"].names
    assert "uc_nfc cosine 1 stderr" in names
    assert "c_nfc cosine 1 stderr" not in names


def test_long_names_keep_what_tells_them_apart(sweep: Sweep, cell_results: CellResults) -> None:
    """A long name is cut to 128 characters and keeps its end, the seed and the hash."""
    cell = sweep.cells[0]
    long = copy.copy(cell)
    object.__setattr__(long, "id", "x" * 180 + "." + cell.id[-8:])
    name = build_record(sweep, long, 0, cell_results).name
    assert len(name) == 128
    assert name.endswith(f" seed 0 {cell.id[-8:]}")


@pytest.mark.parametrize(
    ("arrays", "input_shape", "shape"),
    [
        ({"nfm": np.eye(9), "agop": np.eye(9)}, [9], (189, 2 * 189 + 8, 3)),  # matrices, each entry 21 x 21
        ({"nfm": np.eye(16), "agop": np.eye(16)}, [1, 4, 4], (192, 2 * 192 + 8, 3)),  # an image from the diagonal
        ({"nfm_diagonal": np.ones(784), "agop_diagonal": np.ones(784)}, [1, 28, 28], (168, 2 * 168 + 8, 3)),
        ({"nfm_diagonal": np.ones(300), "agop_diagonal": np.ones(300)}, [300], (16, 2 * 300 + 8, 3)),  # a strip
        ({"nfm": np.full((2, 2), np.nan), "agop": np.eye(2)}, [2], (192, 2 * 192 + 8, 3)),
    ],
)
def test_pictures(arrays: dict[str, np.ndarray], input_shape: list[int], shape: tuple[int, ...]) -> None:
    """All forms of matrices.npz are drawn, with undefined values in grey."""
    picture, _ = pictures_of({f"0/first/{name}": array for name, array in arrays.items()}, ["first"], input_shape)
    assert picture.pixels.shape == shape
    assert picture.pixels.dtype == np.uint8
    if np.isnan(next(iter(arrays.values()))).any():
        assert (picture.pixels[0, 0] == 128).all()


def test_spectra_are_drawn_to_scale() -> None:
    """A spectrum of two eigenvalues with ratio 1e-4 is a line from the top left to the middle of the right edge."""
    spectrum = np.array([5.0, 5e-4])
    arrays = {f"0/first/{name}": np.eye(2) for name in ("nfm", "agop")} | {"0/first/nfm_spectrum": spectrum}
    _, picture = pictures_of(arrays, ["first"], [2])
    orange = (picture.pixels == SPECTRA["nfm"][1]).all(axis=2)
    assert picture.pixels.shape == (192, 192, 3)
    assert orange.any(axis=0).all()
    assert orange[:, 0].argmax() == 0
    assert orange[:, -1].argmax() == 95  # 4 of 8 decades, of 190 rows
    assert not (picture.pixels == SPECTRA["k"][1]).all(axis=2).any()  # K has no spectrum here


@pytest.mark.parametrize("spectrum", [[0.0, 0.0], [np.nan, 1.0], [-1.0, -2.0]])
def test_spectra_without_a_scale_are_left_out(spectrum: list[float]) -> None:
    """A spectrum without positive values gives an empty panel."""
    arrays = {f"0/first/{name}": np.eye(2) for name in ("nfm", "agop")} | {"0/first/k_spectrum": np.array(spectrum)}
    assert len(np.unique(pictures_of(arrays, ["first"], [2])[1].pixels)) == 1


def test_config_names_every_setting_as_the_tables_do(sweep: Sweep, cell_results: CellResults) -> None:
    """The column ``model.init_scale`` of a table is ``model.init_scale`` of a configuration, with the same value."""
    config = record(sweep, cell_results).config
    for axis, settings in sweep.cells[0].parameters().items():
        assert settings.items() <= config[axis].items()
    assert config["measure"] == sweep.measure.model_dump(mode="json")
    assert config["probe"] == sweep.probe.model_dump(mode="json")


@pytest.mark.parametrize("name", DATA)
def test_the_shape_of_the_data_hides_no_setting(name: str, cell_results: CellResults) -> None:
    """Both are in the section ``data`` of a run's configuration."""
    assert not cell_results.document["data"].keys() & DATA[name].settings.model_fields.keys()


def test_k_in_the_left_singular_basis_is_drawn_from_zero_and_with_dots_at_log_a_and_log_kappa() -> None:
    """At a step without NFM: |U^T K U| from 0 to 1, and kappa = a^2, whose dots fall twice as fast as they go left."""
    arrays = {
        "left_k": np.array([[1.0, 0.5], [0.5, 0.5]]),
        "strengths": np.array([4.0, 0.4, 0.0]),
        "kappa": np.array([16.0, 0.16, 7.0]),
    }
    left, kappa = pictures_of({f"5/first/{name}": array for name, array in arrays.items()}, ["first"], [2])
    assert [(left.name, left.step), (kappa.name, kappa.step)] == [("left_k", 5), ("kappa", 5)]
    assert left.pixels[0, 0].tolist() == [253, 231, 37]
    assert left.pixels[-1, 0].tolist() == [33, 145, 140]  # the middle of the scale, not its end
    dots = (kappa.pixels == SPECTRA["k"][1]).all(axis=2)
    assert dots[:8, -8:].all()  # the strongest direction is in the top right corner
    dots[:8, -8:] = False
    rows, columns = np.nonzero(dots)
    width = len(set(columns))
    assert len(rows) == width**2  # one more dot: directions beyond the rank have none
    assert columns.min() == round((192 - width) * 2 / 3)
    assert rows.min() == round((192 - width) * 2 / 3)


def test_k_that_is_not_finite_is_grey_and_has_no_dots() -> None:
    arrays = {"left_k": np.full((2, 2), np.nan), "strengths": np.ones(2), "kappa": np.full(2, np.nan)}
    left, kappa = pictures_of({f"0/first/{name}": array for name, array in arrays.items()}, ["first"], [2])
    assert (left.pixels == 128).all()
    assert len(np.unique(kappa.pixels)) == 1


def test_strengths_beyond_float32_have_no_dots() -> None:
    """Of a network that diverged: one strength is infinite, and the others are nothing beside it."""
    arrays = {"left_k": np.eye(2), "strengths": np.array([np.inf, 1.0]), "kappa": np.array([1.0, 1.0])}
    _, kappa = pictures_of({f"0/first/{name}": array for name, array in arrays.items()}, ["first"], [2])
    assert (kappa.pixels == SPECTRA["k"][1]).all(axis=2).any()
