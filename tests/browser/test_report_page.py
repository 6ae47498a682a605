"""The report as a reader meets it: from a file, offline, in a real browser."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nfa.report.page.page import page as page_of
from nfa.report.statistics.collected import Collected
from nfa.report.statistics.matrix_albums import find_albums
from nfa.report.statistics.study import Study
from nfa.report.statistics.summaries import make_tables
from nfa.stages.aggregate import aggregate, collect
from nfa.storage.paths import SweepPaths
from tests.fake_results import write
from tests.helpers import tiny_sweep

HOSTILE = "<script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small report."""
    sweep, folder = tiny_sweep(), tmp_path_factory.mktemp("results")
    write(sweep, folder)
    return aggregate(sweep, folder).report


def visit(chromium: Any, report: Path, width: int = 1280, **options: Any) -> tuple[Any, list[str]]:
    """Open a report; collect what it complains about and what it asks the network for."""
    page = chromium.new_page(viewport={"width": width, "height": 900}, **options)
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("request", lambda request: trouble.append(request.url[:99]) if _foreign(request.url, report) else None)
    page.goto(report.as_uri())
    return page, trouble


def write_page(collected: Collected, paths: SweepPaths) -> Path:
    """Write the page alone, without the figures' files."""
    study = Study(collected, make_tables(collected), paths)
    paths.report.write_text(page_of(study, (), find_albums(study)), encoding="utf-8")
    return paths.report


def _foreign(url: str, report: Path) -> bool:
    return url != report.as_uri() and not url.startswith("data:")


def test_opens_offline_without_a_word(chromium: Any, report: Path) -> None:
    page, trouble = visit(chromium, report)
    assert trouble == []
    headings = page.locator("main > section > h2").all_text_contents()
    assert headings[:7] == [
        "At a glance",
        "Did the sweep train?",
        "Does the ansatz hold here?",
        "At which layer?",
        "When in training?",
        "For which optimizer and depth?",
        "Do better-aligned layers hold better features?",
    ]
    assert page.locator("svg[role=img]:not([aria-label])").count() == 0
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("table:not(:has(caption)), table:not(:has(th[scope]))").count() == 0
    assert (
        page.evaluate("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size")
        == page.locator("[id]").count()
    )
    page.close()


def test_selector_changes_heat_map_sentences_and_curves(chromium: Any, report: Path) -> None:
    page, trouble = visit(chromium, report)

    def state() -> tuple[list[str], str, list[str], list[str]]:
        curves = page.locator("#time svg [id$='-line'] path").evaluate_all("all => all.map(p => p.getAttribute('d'))")
        dots = page.locator("#ansatz svg [id*='final'] use").evaluate_all("all => all.map(u => u.getAttribute('x'))")
        sentence = page.locator("#ansatz .answer").text_content()
        return page.locator("#heatmap td.heat").all_text_contents(), sentence, curves, dots

    first = state()
    page.select_option("#choose-correlation", label="pearson")
    page.select_option("#choose-power", label="1/2")
    other = state()
    assert "Convention: pearson, power 1/2" in other[1]
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert [len(first[part]) for part in (0, 2, 3)] == [len(other[part]) for part in (0, 2, 3)]
    page.select_option("#choose-correlation", label="cosine")
    page.select_option("#choose-power", label="1")
    back = state()
    assert back[:2] == first[:2]
    for drawn, redrawn in zip(first[2], back[2], strict=True):  # the script draws what matplotlib drew
        assert numbers(redrawn) == pytest.approx(numbers(drawn), abs=0.15)
    assert trouble == []
    page.close()


def numbers(path: str) -> list[float]:
    return [float(word) for word in path.replace("M", " ").replace("L", " ").split()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_hangs_over_the_page(chromium: Any, report: Path, width: int, scheme: str) -> None:
    page, trouble = visit(chromium, report, width, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert trouble == []
    page.close()


def test_reads_without_javascript(chromium: Any, report: Path) -> None:
    page, trouble = visit(chromium, report, java_script_enabled=False)
    assert "Convention: cosine, power 1" in page.locator("#ansatz .answer").text_content()
    assert page.locator("#heatmap td.heat").first.text_content() != ""
    assert not page.locator("#selector").is_visible()
    assert trouble == []
    page.close()


def test_a_link_to_a_cell_opens_it(chromium: Any, report: Path) -> None:
    page, _ = visit(chromium, report)
    page.locator("#heatmap tbody th a").nth(1).click()
    assert page.locator("#cell-1").evaluate("d => d.open")
    page.close()


def test_text_from_data_stays_text(chromium: Any, tmp_path: Path) -> None:
    sweep = tiny_sweep(data=[{"name": "chain_monomial"}])
    paths = write(sweep, tmp_path)
    plain = collect(sweep, paths)
    documents: dict[str, dict[str, Any]] = json.loads(json.dumps(plain.documents))
    for document in documents.values():
        document["provenance"]["commit"] = HOSTILE
        document["parameters"]["model"]["name"] = HOSTILE
    alignment = plain.alignment.assign(
        note=HOSTILE, layer=plain.alignment["layer"].cat.rename_categories(lambda x: x + HOSTILE)
    )
    hostile = replace(sweep, document={**sweep.document, "note": HOSTILE}, name=HOSTILE)
    collected = replace(plain, sweep=hostile, documents=documents, alignment=alignment)
    labels = collected.labels
    labels["label"] += HOSTILE
    labels["optimizer"] += HOSTILE
    page, trouble = visit(chromium, write_page(collected, paths))
    page.select_option("#choose-power", label="depth")
    page.wait_for_timeout(100)
    assert page.title().startswith("<script>")  # the name of the sweep, as text: no script has changed it
    assert page.locator("script").count() == 2
    assert page.locator("img[src=x]").count() == 0
    assert trouble == []
    page.close()


def test_a_large_sweep_is_thinned_and_says_so(chromium: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nfa.report.statistics.labels.CELLS_SHOWN", 2)
    sweep = tiny_sweep(
        data=[{"name": "chain_monomial"}],
        model=[{"name": "mlp", "depth": 1, "width": 8}],
        optimizer=[{"name": "sgd", "lr": [0.1, 0.2, 0.3]}],
    )
    paths = write(sweep, tmp_path)
    page, trouble = visit(chromium, write_page(collect(sweep, paths), paths))
    assert "This sweep has 3 cells" in page.locator("#training .left-out").text_content()
    assert page.locator("#cells summary b").all_text_contents() == [
        f"chain_monomial · mlp · sgd lr {lr}" for lr in (0.1, 0.3)
    ]
    assert "3 of 3 cells learned" in page.locator("#training .answer").text_content()
    assert trouble == []
    page.close()
