"""README and docs are kept true: their code runs, their sweeps parse, their links lead somewhere."""

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import nfa
from nfa.alignment import left_out
from nfa.data import DATA
from nfa.external.torchvision_import import torchvision
from nfa.models import MODELS
from nfa.optim import OPTIMIZERS
from nfa.sweep.grid import parse
from nfa.sweep.stage_settings import Measure, Probe, Train, Wandb
from tests.helpers import ROOT, environment

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def test_the_ten_lines_of_the_readme_run(tmp_path: Path) -> None:
    (code,) = blocks(ROOT / "README.md", "python")
    assert len(code.strip().splitlines()) <= 10
    loop = "optimizer.zero_grad(); model(images).square().mean().backward(); optimizer.step()"
    script = "import torch; images = torch.randn(64, 784)\n" + re.sub(r"(?m)^\.\.\..*$", loop, code)
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert done.returncode == 0, done.stderr
    assert "value" in done.stdout


OWN = ROOT / "docs" / "measure-your-own.md"
LIBRARIES = ("timm", "transformers")  # tests only; slow to import, and built on torchvision


class OneBlock(nn.Module):
    """The user's network on the page."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 2, 2) -> (n, 3)."""
        return self.mlp(x.flatten(1))  # type: ignore[no-any-return]


def ready() -> dict[str, Any]:
    """The names that a reader of the page has in a training script."""
    model = nn.Sequential()
    model.add_module("blocks", nn.Sequential(OneBlock()))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    run = SimpleNamespace(log=lambda row, commit: row["alignment/uc_nfc/0"], define_metric=lambda name, **_: name)
    images = torch.randn(20, 3, 2, 2)
    return {
        "nfa": nfa,
        "model": model,
        "images": images,
        "state_dict_before_training": start,
        "run": run,
        "step": 0,
    }


def snippets(page: Path) -> list[Any]:
    """The blocks of Python on a page; those that import another library are slow."""
    return [
        pytest.param(code, marks=pytest.mark.slow if any(f"from {name} " in code for name in LIBRARIES) else ())
        for code in blocks(page, "python")
    ]


@pytest.mark.parametrize(
    "code", snippets(OWN), ids=lambda code: f"line {OWN.read_text().partition(code)[0].count(chr(10))}"
)
def test_what_the_page_on_a_network_of_ones_own_shows_runs(code: str, tmp_path: Path) -> None:
    for name in LIBRARIES:
        if f"from {name} " in code:
            torchvision()
            pytest.importorskip(name, reason=f"{name} is not installed: pip install -c constraints.txt {name}")
    torch.manual_seed(0)
    (tmp_path / "snippet.py").write_text(code)
    whole = "import torch" in code
    found = runpy.run_path(str(tmp_path / "snippet.py"), init_globals={} if whole else ready())
    table = found["table"]
    values = table[(table.quantity == "uc_nfc") & (table.power == "1")].value
    assert len(values)
    assert values.between(-1, 1).all(), "every layer has a number"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")], ids=lambda page: page.name)
def test_whole_sweeps_on_a_page_parse(page: Path) -> None:
    for text in blocks(page, "yaml"):
        document = yaml.safe_load(text)
        if isinstance(document, dict) and {"data", "model", "optimizer"} <= document.keys():
            assert parse(document, page.name).cells


def test_optimizers_on_their_page_plan_with_a_network_that_has_their_layers() -> None:
    fragments = blocks(ROOT / "docs" / "optimizers.md", "yaml")
    assert fragments
    for text in fragments:
        rest = {"data": [{"name": "fashion_mini"}], "model": [{"name": "transformer"}]}
        assert parse({**rest, **yaml.safe_load(text)}, "optimizers.md").cells


PARAMETRISATIONS = (parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal)


@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_why_a_parametrised_weight_is_left_out_is_on_the_page(kind: Callable[[nn.Module], nn.Module]) -> None:
    page = (ROOT / "docs" / "measure-your-own.md").read_text()
    model = nn.Sequential(kind(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 2))
    reasons = left_out(model, torch.randn(5, 4))
    assert reasons
    for name, reason in reasons.items():
        assert name.startswith("0.parametrizations.weight.original")
        assert reason.partition(":")[0] in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)  # code calls what it takes from a list
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    local = [target for target in targets if not target.startswith(("http://", "https://"))]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_sweep_file_page_names_every_entry_and_setting() -> None:
    pages = ("sweep-file", "data", "models", "optimizers", "training")  # one each for the axes' own settings
    text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in pages)
    registries: list[dict[str, Any]] = [DATA, MODELS, OPTIMIZERS]
    kinds = [entry.settings for registry in registries for entry in registry.values()]
    fields = [
        field for kind in (*kinds, Train, Measure, Probe, Wandb) for field in kind.model_fields if field != "name"
    ]
    words = {*fields, *(name for registry in registries for name in registry)}
    assert [word for word in sorted(words) if f"`{word}`" not in text and f".{word}`" not in text] == []


def test_no_page_is_left_with_a_placeholder() -> None:
    assert [page.name for page in PAGES if re.search(r"@[A-Z_]+@|TODO|FIXME", page.read_text())] == []
