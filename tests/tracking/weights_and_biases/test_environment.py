"""Settings of the working folder, of the user and of stray variables leave the content of a run as it is."""

import json
from pathlib import Path

import pytest
import wandb
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nfa.errors import UserError
from nfa.stages.publish import publish
from nfa.sweep.cells import Sweep
from nfa.tracking.record.run import RunRecord
from nfa.tracking.weights_and_biases.environment import CONNECTION
from nfa.tracking.weights_and_biases.tracker import WandbTracker
from tests.tracking.reading import Logged, run_folders
from tests.tracking.wandb_server import WandbServer

RUN = RunRecord("cell/seed-0", "name", "group", "run", ("tag",), {"seed": 0}, {"last_step": 1}, (), {}, (), stem="0a")
ALL = {"name", "notes", "tags", "job_type", *(name.removeprefix("x_") for name in wandb.Settings.model_fields)}
VARIABLES = sorted({f"WANDB_{name.upper()}" for name in ALL} - {*CONNECTION})
FORGED = {"entity": "other", "project": "other", "run_notes": "forged", "run_group": "other", "run_id": "other"}
TEXT = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)


def is_text(name: str) -> bool:
    """Return True if a setting may be any text; with one wrong value, the client ignores the whole file."""
    try:
        wandb.Settings(**{name: "text"})
    except (ValidationError, wandb.errors.UsageError):
        return False
    return True


SETTINGS = st.dictionaries(st.sampled_from([*filter(is_text, wandb.Settings.model_fields)]), TEXT, max_size=4)


def forge(folder: Path, content: dict[str, str], config: dict[str, str]) -> None:
    """Write the files that the client reads from a working folder."""
    (folder / "wandb").mkdir(exist_ok=True)
    lines = [f"{name} = {value}" for name, value in content.items()]
    (folder / "wandb" / "settings").write_text("\n".join(["[default]", *lines, ""]))
    (folder / "config-defaults.yaml").write_text(json.dumps({name: {"value": value} for name, value in config.items()}))


def publish_run(folder: Path) -> str:
    """Publish a run offline with the real client; returns the name of its folder."""
    tracker = WandbTracker(folder, "offline", "project", None)
    try:
        sent = tracker.publish(RUN)
    finally:
        tracker.close()
    return str(sent.folder)


def published(folder: Path, working: Path, variables: dict[str, str]) -> dict[str, object]:
    """Publish a run offline in some surroundings.

    Returns:
        The run as W&B's own reader prints it, without its time and the client's notes in the configuration.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(working)
        for name, value in variables.items():
            patch.setenv(name, value)
        sent = publish_run(folder)
    logged = Logged(folder / sent)  # outside, because the variables would change the reader
    config = {name: value for name, value in logged.config.items() if name != "_wandb"}
    return {**{name: value for name, value in logged.run.items() if name not in ("start_time", "config")}, **config}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The run without any settings of the user."""
    return published(tmp_path_factory.mktemp("runs") / "wandb", tmp_path_factory.mktemp("empty"), {})


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate])  # shrinking would take minutes
@given(
    content=SETTINGS.map(lambda chosen: {**FORGED, "sweep_id": "abcd1234", **chosen}),
    variables=st.dictionaries(st.sampled_from(VARIABLES), TEXT, max_size=4),
    config=st.dictionaries(TEXT, TEXT, max_size=2),
)
def test_no_settings_of_the_user_change_a_run(
    content: dict[str, str],
    variables: dict[str, str],
    config: dict[str, str],
    undisturbed: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("forged")
    forge(folder, content, config)
    assert published(tmp_path_factory.mktemp("runs") / "wandb", folder, variables) == undisturbed


def test_a_sweep_id_of_the_folder_makes_no_new_runs(
    sweep: Sweep, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    forge(tmp_path, {**FORGED, "sweep_id": "abcd1234"}, {"lr": "9"})
    first = publish(sweep, results)
    folders = run_folders(results / "small" / "wandb")
    second = publish(sweep, results)
    assert (len(first.published), len(second.published), len(second.unchanged)) == (4, 0, 4)
    assert run_folders(results / "small" / "wandb") == folders
    assert [Logged(folder).run["run_id"].split("-")[1] for folder in folders].count("s0") == 2


def test_a_client_that_this_process_has_opened_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_NOTES", "notes of the open run")
    try:
        with wandb.init(mode="offline", project="theirs", settings=wandb.Settings(console="off")) as run:
            run.log({"loss": 1.0})
            with pytest.raises(UserError, match="this Python process has opened the W&B client already") as caught:
                publish_run(tmp_path / "results" / "wandb")
            run.log({"loss": 2.0})
    finally:
        wandb.teardown()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()
    (folder,) = run_folders(tmp_path / "wandb")
    assert [row["loss"] for row in Logged(folder).history] == [1.0, 2.0]
    monkeypatch.delenv("WANDB_NOTES")
    publish_run(tmp_path / "results" / "wandb")  # the client has ended


def test_only_the_server_of_the_users_settings_counts(
    online: Sweep, results: Path, tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.address
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_ENTITY", "nobody")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    (tmp_path / "settings").write_text(
        "[default]\n" + "\n".join(f"{k} = {v}" for k, v in FORGED.items()) + f"\nbase_url = {address}\n"
    )
    before = (tmp_path / "settings").read_bytes()
    done = publish(online, results)
    assert (len(done.published), done.unsent) == (4, {})
    assert {run.project for run in server.runs.values()} == {"nfa-test"}
    assert {run.entity for run in server.runs.values()} == {None}  # the account's default
    assert (tmp_path / "settings").read_bytes() == before
