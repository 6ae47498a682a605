"""Publishing again, after a change, a loss, a kill or a failure."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nfa.cli.main import run as nfa_command
from nfa.errors import UserError
from nfa.jobs.exit_codes import UNPUBLISHED
from nfa.stages.publish import publish
from nfa.storage.columns import HISTORY
from nfa.storage.paths import SweepPaths
from nfa.storage.tables import read_stamp, read_table, write_table
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking import destinations as places
from nfa.tracking.weights_and_biases import tracker as wandb_tracker
from tests.tracking.reading import DOCUMENT, records, run_folders

KEY = "f00dfacef00dfacef00dfacef00dfacef00dface"
ROOT = Path(__file__).parents[2]
PUBLISH = f"""
import sys
from pathlib import Path
from nfa.stages.publish import publish
from nfa.sweep.grid import parse
DOCUMENT = {DOCUMENT!r}
"""


def with_mode(mode: str, **settings: str) -> Sweep:
    """The small sweep with other W&B settings."""
    return parse({**DOCUMENT, "wandb": {"mode": mode, "project": "nfa-test", **settings}}, "test")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of every run but its logs, one of which is a link to the service's own."""
    runs = run_folders(folder)
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for run in runs
        for path in run.rglob("*")
        if path.is_file() and path.parent.name != "logs"
    }


def change_history(sweep: Sweep, results: Path) -> str:
    """Change the training curve of one run, the first cell's first seed; returns the cell's id."""
    path = SweepPaths(results / sweep.name).cell(sweep.cells[0].id).history
    frame = read_table(path)
    frame["value"] += 1.0 * (frame.index == 0)
    write_table(path, frame, HISTORY, read_stamp(path))
    return sweep.cells[0].id


def python(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start Python with a clean environment and the given W&B variables only."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "XDG_"))}
    clean |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], env=clean, cwd=home, text=True, stdout=pipe, stderr=pipe)


class Refuse(BaseHTTPRequestHandler):
    """A server that answers as W&B does to an unknown key."""

    def do_POST(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"errors": [{"message": "user is not logged in"}], "data": {}}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@contextmanager
def refusing_server() -> Iterator[str]:
    """A local server that refuses every key; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_second_publish_writes_nothing(sweep: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing again changes no file and does not open the tracker."""
    publish(sweep, results)
    folder = SweepPaths(results / sweep.name).wandb
    before, declared = snapshot(folder), SweepPaths(results / sweep.name).published
    content = declared.read_text()
    declared.unlink()  # as Snakemake does before the job
    monkeypatch.setattr(places, "open_wandb", None)  # nothing may even be opened
    again = publish(sweep, results)
    assert len(again.unchanged) == 4
    assert not again.published
    assert snapshot(folder) == before
    assert declared.read_text() == content


def test_changed_content_replaces_the_folder(sweep: Sweep, results: Path) -> None:
    """One changed value makes one new run in place of the old one."""
    publish(sweep, results)
    folder = SweepPaths(results / sweep.name).wandb
    before = {path.name for path in run_folders(folder)}
    cell = change_history(sweep, results)
    again = publish(sweep, results)
    assert again.published == [f"{cell}/seed-0"]
    assert len(again.unchanged) == 3
    after = {path.name for path in run_folders(folder)}
    assert len(after) == 4
    assert len(after - before) == 1
    (new,) = after - before
    assert records(folder / new)[-1] == {**records(folder / new)[-1], "type": "exit"}


def test_timings_and_provenance_are_no_content(sweep: Sweep, results: Path) -> None:
    """Machine and speed do not change the id of a run."""
    publish(sweep, results)
    path = SweepPaths(results / sweep.name).cell(sweep.cells[0].id).cell
    document = json.loads(path.read_text())
    document["provenance"]["commit"] = "1" * 40
    path.write_text(json.dumps(document))
    assert not publish(sweep, results).published


def test_synced_run_is_kept_and_superseded(sweep: Sweep, results: Path, tmp_path: Path) -> None:
    """A synced run is not removed, and the new run names its id as superseded."""
    publish(sweep, results)
    paths = SweepPaths(results / sweep.name)
    key = f"{sweep.cells[0].id}/seed-0"
    old = json.loads(paths.published.read_text())["runs"][key]
    (paths.wandb / old["folder"] / f"run-{old['id']}.wandb.synced").touch()  # what `wandb sync` leaves
    publish(sweep, results)
    shutil.move(paths.wandb / old["folder"], tmp_path / "cleaned")  # as `wandb clean` would
    assert not publish(sweep, results).published
    shutil.move(tmp_path / "cleaned", paths.wandb / old["folder"])
    assert json.loads(paths.published.read_text())["runs"][key]["sent"] is True
    change_history(sweep, results)
    publish(sweep, results)
    new = json.loads(paths.published.read_text())["runs"][key]
    assert new["superseded"] == [old["id"]]
    assert new["sent"] is False
    assert len(run_folders(paths.wandb)) == 5


def test_vanished_folder_is_written_again(sweep: Sweep, results: Path) -> None:
    """A run whose folder is missing is published again."""
    publish(sweep, results)
    folder = SweepPaths(results / sweep.name).wandb
    victim = run_folders(folder)[1]
    for path in sorted(victim.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    victim.rmdir()
    assert len(publish(sweep, results).published) == 1
    assert len(run_folders(folder)) == 4


def test_killed_half_way_resumes(sweep: Sweep, results: Path, tmp_path: Path) -> None:
    """After SIGKILL in the third run, the two finished runs stay and the incomplete one is removed."""
    code = (
        PUBLISH
        + f"""
import os, signal
from nfa.tracking.weights_and_biases import tracker as wandb_tracker
whole, done = wandb_tracker.OpenRun.write, []
def half(opened, lines):
    done.append(opened)
    if len(done) == 3:
        whole(opened, [next(lines)])
        os.kill(os.getpid(), signal.SIGKILL)
    whole(opened, lines)
wandb_tracker.OpenRun.write = half
publish(parse(DOCUMENT, "test"), Path({str(results)!r}))
"""
    )
    killed = python(code, tmp_path)
    assert killed.wait(timeout=60) < 0
    folder = SweepPaths(results / sweep.name).wandb
    assert len(run_folders(folder)) == 3
    summary = publish(sweep, results)
    assert len(summary.published) == 2
    assert len(summary.unchanged) == 2
    runs = run_folders(folder)
    assert len(runs) == 4
    for run in runs:
        assert records(run)[-1]["type"] == "exit"


def broken(opened: Any, lines: Iterator[Any]) -> None:
    """Write the first line of a run and then fail, in place of ``OpenRun.write``."""
    with opened._tracker.watched():
        opened._opened.log({"train/step": 0})
        raise RuntimeError("disk is full")


def test_failing_runs_cost_nothing(sweep: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning names the reason and the remedy; no incomplete run is left."""
    with monkeypatch.context() as patch:
        patch.setattr(wandb_tracker.OpenRun, "write", broken)
        summary = publish(sweep, results)
    paths = SweepPaths(results / sweep.name)
    assert len(summary.unsent) == 4
    assert "disk is full" in " ".join(summary.lines())
    assert "nfa publish" in " ".join(summary.lines())
    assert not run_folders(paths.wandb)
    assert json.loads(paths.published.read_text())["unsent"].keys() == summary.unsent.keys()
    assert len(publish(sweep, results).published) == 4


def test_missing_wandb_costs_nothing(sweep: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the client, publishing warns and writes published.json."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "nfa.tracking.weights_and_biases.tracker")
    summary = publish(sweep, results)
    assert len(summary.unsent) == 4
    assert SweepPaths(results / sweep.name).published.exists()


def test_unreachable_server_costs_nothing(sweep: Sweep, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing server is noticed once, not for every run; offline runs stay."""
    publish(sweep, results)
    folder = SweepPaths(results / sweep.name).wandb
    before = snapshot(folder)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
    summary = publish(with_mode("online"), results)
    assert len(summary.unsent) == 4
    assert set(summary.unsent.values()) == {"the server does not answer: http://127.0.0.1:9: Connection refused"}
    assert not summary.complete
    assert snapshot(folder) == before  # the offline runs are unchanged
    assert os.environ["WANDB_API_KEY"] == KEY
    assert len(publish(sweep, results).unchanged) == 4


def test_what_is_not_published_is_no_success(
    sweep: Sweep, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`nfa publish` ends with status 69 if it publishes nothing or not everything, and else with 0."""
    config = tmp_path / "small.json"
    config.write_text(json.dumps(DOCUMENT))
    command = ["publish", str(config), "--results", str(results)]
    paths = SweepPaths(results / sweep.name)
    for cell in sweep.cells:
        paths.cell(cell.id).probes.rename(paths.cell(cell.id).folder / "kept")
    assert nfa_command(command) == UNPUBLISHED == 69
    first = paths.cell(sweep.cells[0].id)
    (first.folder / "kept").rename(first.probes)
    assert nfa_command(command) == 0  # a sweep that still runs is published as far as it is done
    with monkeypatch.context() as patch:
        patch.setattr(wandb_tracker.OpenRun, "write", broken)
        change_history(sweep, results)
        assert nfa_command(command) == 69
    assert "disk is full" in capsys.readouterr().err
    config.write_text(json.dumps({**DOCUMENT, "wandb": {"mode": "disabled"}}))
    assert nfa_command(command) == 0


def test_a_silent_server_is_not_a_busy_client(
    results: Path, listener_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would say that its own service process is busy."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener_port}")
    (reason,) = set(publish(with_mode("online"), results).unsent.values())
    assert reason.endswith(f"http://127.0.0.1:{listener_port}: it accepts connections, but sends no answer")


def test_refused_key_is_one_line(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key is an error with the server's message, not only a warning."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with refusing_server() as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        with pytest.raises(UserError, match="not logged in") as caught:
            publish(with_mode("online"), results)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("address", "says"), [(None, "wandb login"), ("nonsense", "WANDB_BASE_URL: 'nonsense'")])
def test_wrong_surroundings_are_one_line(
    address: str | None, says: str, results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A missing key and an invalid server address are errors of one line."""
    if address is None:
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
    else:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("NETRC", str(tmp_path / "nobody" / ".netrc"))
    with pytest.raises(UserError, match=says) as caught:
        publish(with_mode("online"), results)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("project", ["a/b", "  ", "a:b", "a\nb"])
def test_a_project_of_no_name_is_refused_before_anything_trains(project: str) -> None:
    """The sweep file is refused: the client would refuse the project after the training, and MLflow never."""
    with pytest.raises(UserError, match=r"wandb: project: .* is no name"):
        with_mode("offline", project=project)


@pytest.mark.parametrize("name", ["tables/runs.parquet", "figures/curves.png"])
def test_a_damaged_summary_costs_no_run(name: str, sweep: Sweep, aggregated: Path) -> None:
    """The damaged file is named with the command that repairs it, and all other runs are published."""
    file = aggregated / sweep.name / name
    file.write_bytes(file.read_bytes()[:100])
    done = publish(sweep, aggregated)
    assert len(done.published) == 4
    assert list(done.unsent) == ["sweep/summary"]
    assert f"{file.name}: damaged" in done.unsent["sweep/summary"]
    assert "nfa aggregate" in done.unsent["sweep/summary"]


def test_disabled_imports_no_wandb(results: Path, tmp_path: Path) -> None:
    """A disabled publish does not import the client, and writes only published.json."""
    code = (
        PUBLISH
        + f"""
DOCUMENT["wandb"]["mode"] = "disabled"
publish(parse(DOCUMENT, "test"), Path({str(results)!r}))
print("wandb" in sys.modules, "torch" in sys.modules)
"""
    )
    done = python(code, tmp_path)
    assert done.communicate(timeout=60)[0].split() == ["False", "False"]
    paths = SweepPaths(results / "small")
    assert json.loads(paths.published.read_text())["runs"] == {}
    assert not paths.wandb.exists()


def test_unfinished_cells_are_named(sweep: Sweep, results: Path) -> None:
    """Unfinished cells are named, and the finished ones are published."""
    paths = SweepPaths(results / sweep.name)
    paths.cell(sweep.cells[1].id).probes.unlink()
    summary = publish(sweep, results)
    assert len(summary.published) == 2
    assert list(summary.incomplete) == [sweep.cells[1].id]
    assert "probes.parquet: missing; run `nfa probe" in summary.incomplete[sweep.cells[1].id]


def test_nothing_outside_and_nothing_secret(
    results: Path, tmp_path: Path, listener: Callable[[], int], listener_port: int
) -> None:
    """Offline, nothing connects, no file is written elsewhere, and neither key nor stray variables are used."""
    outside = sorted(path for path in results.rglob("*") if path.is_file())
    here = f"http://127.0.0.1:{listener_port}"
    environment = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": here, "HTTP_PROXY": here, "HTTPS_PROXY": here}
    code = PUBLISH + f"print(publish(parse(DOCUMENT, 'test'), Path({str(results)!r})).lines())"
    done = python(code, tmp_path, WANDB_TAGS="stray", WANDB_MODE="online", WANDB_RUN_GROUP="stray", **environment)
    output = "".join(done.communicate(timeout=60))
    assert done.returncode == 0, output
    assert "4 runs published offline" in output
    assert "wandb leet" in output
    assert listener() == 0, "offline made a connection"
    assert not list((tmp_path / "home").iterdir())
    new = [path for path in results.rglob("*") if path.is_file() and path not in outside]
    wandb_folder = results / "small" / "wandb"
    assert {path for path in new if wandb_folder not in path.parents} == {results / "small" / "published.json"}
    for path in new:
        content = path.read_bytes()
        assert KEY.encode() not in content, path
        assert b"stray" not in content, path
    assert KEY not in output


def test_two_at_once_publish_once(sweep: Sweep, results: Path, tmp_path: Path) -> None:
    """The second process waits for the first, and then finds nothing to publish."""
    code = PUBLISH + f"print(len(publish(parse(DOCUMENT, 'test'), Path({str(results)!r})).published))"
    both = [python(code, tmp_path), python(code, tmp_path)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert sorted(int(output) for output in outputs) == [0, 4]
    assert len(run_folders(SweepPaths(results / sweep.name).wandb)) == 4
