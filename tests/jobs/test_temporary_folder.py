"""The folder for the temporary files of a fork."""

import tempfile
from pathlib import Path

import pytest

from nfa.jobs.temporary_folder import own_temporary_folder


def test_what_is_left_in_it_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with own_temporary_folder():
        left = Path(tempfile.mkdtemp())
        (left / "file").touch()
        assert left.parent.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert tempfile.tempdir == str(tmp_path)


def test_without_room_for_one_the_body_is_run_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with own_temporary_folder():
        done = True
    assert done
