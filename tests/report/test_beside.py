"""Work beside the body of a `with`: done when it is left, its error seen as it is."""

from pathlib import Path

import pytest

from nfa.errors import UserError
from nfa.report.beside import beside


def test_it_is_done_when_the_body_is_left(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / "x").write_text("done")

    with beside(work):
        done = "body"
    assert done == "body"
    assert (tmp_path / "x").exists()


def test_its_error_is_raised_here_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"), beside(fail):
        pass
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_body_ends_it(tmp_path: Path) -> None:
    def wait() -> None:
        import time

        time.sleep(600)

    with pytest.raises(KeyError), beside(wait):
        raise KeyError
