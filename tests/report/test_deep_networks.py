"""The report stays readable for networks of many layers, for long names, and for sweeps of learning rules."""

from itertools import pairwise
from pathlib import Path

import pytest

from nfa.conventions import HEADLINE
from nfa.report.figures import ansatz, curves, depth, heatmap
from nfa.report.figures.saving import legend_places
from nfa.report.figures.style import LAYER_COLOURS, layer_shade
from nfa.report.page.sections.layers import heat_table, which_layer
from nfa.report.page.sections.quality import strata_table
from nfa.report.page.svg import Live
from nfa.report.statistics.labels import cell_labels
from nfa.report.statistics.study import Study
from tests.helpers import tiny_sweep
from tests.report.studies import drawn, study_of

TRANSFORMER = {"name": "transformer", "depth": 4, "width": 8, "heads": 2, "patch": 14}


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One transformer: 26 layers."""
    sweep = tiny_sweep(
        seeds=2,
        data=[{"name": "fashion_mini", "n_train": 200, "n_test": 100}],
        model=[TRANSFORMER],
        optimizer=[{"name": "adam"}],
    )
    return study_of(sweep, tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("deepest", [0, 1, 5, 6, 25, 200])
def test_layers_have_as_many_colours_as_there_are_in_order_of_depth(deepest: int) -> None:
    shades = [layer_shade(depth, deepest) for depth in range(deepest + 1)]
    assert shades == sorted(shades)
    assert shades.count(0) == 1
    assert len(set(shades)) == min(deepest + 1, len(LAYER_COLOURS))


def test_a_legend_has_one_entry_for_each_colour(deep: Study) -> None:
    names = [name for name, _ in curves.legend(deep)]
    assert names == [f"{low}–{low + 4} from the output" for low in (21, 16, 11, 6, 1)] + ["readout"]


def test_labels_of_depths_do_not_touch(deep: Study) -> None:
    for axes in drawn(depth.panels(deep)[0]):
        boxes = sorted((label.get_window_extent() for label in axes.get_xticklabels()), key=lambda box: box.x0)
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
        assert "out" in [label.get_text() for label in axes.get_xticklabels()]


def test_a_sentence_about_many_layers_names_the_first_and_the_last_few(deep: Study) -> None:
    text = which_layer(deep, HEADLINE).sentence
    extremes = text.partition("Over the 25 depths, the mean directional factor minus its control is ")[2]
    most, _, rest = extremes.partition("; and smallest at these: ")
    least = rest.partition(". ")[0]
    assert most.startswith("largest at these: ")
    assert "blocks.3.down" in most
    assert "embed" in least
    assert (most.count(","), least.count(",")) == (2, 2)


def test_the_heat_map_of_one_deep_network_has_a_row_for_each_layer(deep: Study) -> None:
    table = heat_table(deep, Live())
    (cell,) = deep.shown
    assert [table.count(f'<th scope="row">{name}</th>') for name, _, _ in deep.layers(cell)] == [1] * 26
    assert table.count('class="heat') == 4 * 26 + 1  # the table's own class too


def test_the_figure_of_one_deep_network_is_no_wider_than_a_page(deep: Study) -> None:
    deep.paths.figures.mkdir()
    heatmap.save_heatmap(deep, deep.paths.figures / "heatmap")
    svg = (deep.paths.figures / "heatmap.svg").read_text()
    width, height = (float(part) for part in svg.split('viewBox="0 0 ')[1].split('"')[0].split())
    assert width < 600 < 1.5 * height
    assert "blocks.2.query" in svg


def test_a_legend_takes_as_many_rows_as_it_needs() -> None:
    labels = ["sgd", "slo · rule feedback_alignment rho 0.5", "slo · rule hebb"]
    assert [row for row, _ in legend_places(labels, 1000)] == [0, 0, 0]
    assert [row for row, _ in legend_places(labels, 250)] == [0, 1, 2]
    assert [row for row, _ in legend_places(labels[::-1], 20)] == [0, 1, 2]  # one that never fits does not loop


def test_ranks_of_a_single_point_are_not_listed(deep: Study) -> None:
    assert strata_table(deep).count('<th scope="row">') == 1  # the pooled one


def test_a_long_name_keeps_its_end_and_gets_room() -> None:
    assert ansatz.ending("blocks.3.down") == "blocks.3.down"
    long = ansatz.ending("features.denseblock1.denselayer12.conv2")
    assert len(long) == ansatz.LONGEST_NAME
    assert long.endswith("denselayer12.conv2")
    assert long.startswith("…")


def test_learning_rules_are_compared_where_optimizers_are_one() -> None:
    rules = [
        {"rule": ["backpropagation", "hebb"], "steps": 10},
        {"rule": "feedback_alignment", "rho": [0, 0.5], "steps": 10},
    ]
    one = cell_labels(tiny_sweep(optimizer=[{"name": "sgd", "lr": 0.1}], train=rules))
    assert set(one["group"]) == {"fashion_mini · mlp", "chain_monomial · mlp"}
    assert set(one["optimizer"]) == {
        "sgd · rule backpropagation",
        "sgd · rule hebb",
        "sgd · rule feedback_alignment rho 0",
        "sgd · rule feedback_alignment rho 0.5",
    }
    two = cell_labels(tiny_sweep(train=rules))
    assert set(two["optimizer"]) == {"sgd", "adam"}
    assert "chain_monomial · mlp · rule hebb" in set(two["group"])
    assert one["label"].is_unique
    assert two["label"].is_unique


def test_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("target,a,b\n" + "".join(f"{i}.5,{i * 7 % 97},{i % 9}\n" for i in range(100)))
    data = [{"name": "file", "path": str(tmp_path / "one.csv")}]
    assert set(cell_labels(tiny_sweep(data=data))["data"]) == {"one.csv"}
    data.append({"name": "file", "path": str(tmp_path / "two.csv")})
    assert set(cell_labels(tiny_sweep(data=data))["data"]) == {f"file path {entry['path']}" for entry in data}


def test_names_of_layers_stay_inside_their_panel(deep: Study) -> None:
    axes, _ = drawn(ansatz.panels(deep)[0])
    assert all(label.get_window_extent().x0 >= 0 for label in axes.get_yticklabels())
