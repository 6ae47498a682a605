"""What the package declares that it needs, it imports."""

import re
import tomllib
from importlib.metadata import packages_distributions

from tests.helpers import ROOT

COMMANDS = {"snakemake"}  # used as a command


def test_every_dependency_is_imported() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=]", line)[0] for line in declared}
    code = "\n".join(path.read_text() for path in (ROOT / "nfa").rglob("*.py"))
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE))
    imported |= set(re.findall(r"import_module\(f?\"(\w+)", code))
    found = {
        _plain(owner) for module, owners in packages_distributions().items() if module in imported for owner in owners
    }
    assert {name for name in names if _plain(name) not in found} == COMMANDS


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
