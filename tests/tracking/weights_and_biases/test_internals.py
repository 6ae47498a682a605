"""The parts of the W&B client that are not public: one file imports them, and says which version it needs."""

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

import nfa
from nfa.errors import UserError
from tests.helpers import ROOT

INTERNALS = "nfa.tracking.weights_and_biases.internals"


def imported(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_only_one_file_imports_private_parts() -> None:
    folder = Path(nfa.__file__).parent
    names = {(path.relative_to(folder).as_posix(), name) for path in folder.rglob("*.py") for name in imported(path)}
    files = {path for path, name in names if name.startswith("wandb.") and name != "wandb.errors"}
    assert files == {INTERNALS.removeprefix("nfa.").replace(".", "/") + ".py"}


def test_the_installed_version_has_them() -> None:
    """Fails when W&B moves a part: mend `internals.py`, and raise the version there and in pyproject.toml."""
    try:
        internals = importlib.import_module(INTERNALS)
    except UserError as error:
        pytest.fail(f"{error}: see {INTERNALS}")
    assert f'"wandb>={internals.OLDEST_VERSION}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("missing", ["wandb.sdk.mailbox", "_set_file"])
def test_a_version_without_them_is_refused_in_one_line(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, INTERNALS, raising=False)
    if missing == "_set_file":
        (owner,) = (kind for kind in wandb.Table.__mro__ if missing in vars(kind))
        monkeypatch.delattr(owner, missing)
    else:
        monkeypatch.setitem(sys.modules, missing, None)  # importing it fails
    message = rf"version {wandb.__version__} lacks a part that nfa uses .*{missing}"
    with pytest.raises(UserError, match=message) as caught:
        importlib.import_module(INTERNALS)
    assert "\n" not in str(caught.value)
