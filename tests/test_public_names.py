"""Every public name is there: what is exported can be imported, and what is imported lazily exists."""

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import nfa
from tests.helpers import tiny

FOUND = (found.name for found in pkgutil.walk_packages(nfa.__path__, "nfa."))
MODULES = ["nfa", *(name for name in FOUND if "__main__" not in name)]


@pytest.mark.parametrize("name", MODULES)
def test_every_exported_name_exists(name: str) -> None:
    module = import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    for each in exported:
        assert getattr(module, each) is not None, each


def test_every_lazy_name_exists_and_is_exported() -> None:
    assert {"__version__", *nfa._LAZY} == set(nfa.__all__)
    for name in nfa._LAZY:
        assert callable(getattr(nfa, name))
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        nfa.no_such_name  # noqa: B018


def test_a_sweep_is_loaded_by_the_public_name(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(tiny()))
    sweep = nfa.load_sweep(path)
    assert sweep.name == "tiny"
    assert len(sweep.cells) == 4
