"""Weights & Biases as a tracker: whole runs, and runs that grow while their stages run.

One service process serves all runs of a publish: starting one takes 0.2 s, a run after that about 0.1 s.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from PIL import Image
from wandb.errors import CommError
from wandb.sdk.data_types._private import MEDIA_TMP
from wandb.sdk.data_types.base_types.media import Media
from wandb.sdk.lib.runid import generate_id
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from nfa.tracking.journal import Line, journal_of, lines_of
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.pictures import Picture
from nfa.tracking.record.run import RunRecord
from nfa.tracking.record.tables import Table
from nfa.tracking.tracker import Sent, TrackerError
from nfa.tracking.weights_and_biases import client as wandb_client
from nfa.tracking.weights_and_biases.client import check_login, client_settings, explained
from nfa.tracking.weights_and_biases.environment import client_environment

SUPERSEDED = "superseded"  # tag of a run whose content has changed: there is a newer one


class WandbTracker:
    """Publishes runs to W&B, or to folders that `wandb sync` uploads later."""

    def __init__(self, folder: Path, mode: Literal["offline", "online"], project: str, entity: str | None) -> None:
        """Start the client's service process.

        Raises:
            UserError: The project's name is none, or online there is no key or a wrong one, or no such team.
            TrackerUnavailableError: The service process does not start, or the server does not answer.
        """
        self.online = mode == "online"
        self.folder = folder
        self._held = contextlib.ExitStack()
        self._held.enter_context(client_environment(folder, self.online))
        try:
            with explained():
                self._settings = client_settings(folder, mode, project, entity)
                wandb.setup(self._settings)
                if self.online:
                    check_login(entity)
        except BaseException:
            self.close()
            raise

    def publish(self, run: RunRecord) -> Sent:
        """Publish one run, all of it; see ``Tracker.publish``."""
        opened = self.begin(run)
        try:
            opened.write(lines_of(run))
            opened.complete(run)
        except BaseException:
            opened.end(exit_code=1)
            raise
        opened.end()
        if self.online:
            self._tag_replaced(opened.entity, run.replaces)
        return Sent(opened.folder, sent=self.online, linked=self.online)

    def begin(self, run: RunRecord) -> "OpenRun":
        """Open a run, or online the one of this id that is there.

        Raises:
            As ``Tracker.publish``.
        """
        with self.watched():
            opened = wandb.init(
                id=run.id,
                name=run.name,
                group=run.group,
                job_type=run.job_type,
                tags=run.tags,
                config=run.config,
                settings=self._settings,
            )
            return OpenRun(self, opened, run)

    def account(self) -> str:
        """Account or team that runs are for.

        Raises:
            As ``Tracker.publish``.
        """
        with self.watched():
            return str(self._settings.entity or wandb.Api().default_entity)

    def close(self) -> None:
        """Stop the service process and put the environment back. Never raises."""
        # The client ends the interpreter when its service ended badly; the runs are written or not by then.
        with self._held, contextlib.suppress(Exception, SystemExit):
            wandb.teardown()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the client's errors into the boundary's; start its service process again when that has died."""
        with explained():
            try:
                yield
            except (HandleAbandonedError, MailboxClosedError) as error:
                with contextlib.suppress(Exception, SystemExit):
                    wandb.teardown()
                wandb.setup(self._settings)
                raise TrackerError("the client's service process ended; started again for the next run") from error

    def _tag_replaced(self, entity: str, replaced: Sequence[str]) -> None:
        """Tag runs of earlier content, so that a filter leaves them out; one that is gone needs none."""
        with self.watched():
            for run_id in replaced:
                try:
                    earlier: Any = wandb.Api().run(f"{entity}/{self._settings.project}/{run_id}")
                except CommError as error:
                    if "Could not find run" in str(error):
                        continue
                    raise
                if SUPERSEDED not in earlier.tags:
                    earlier.tags = [*earlier.tags, SUPERSEDED]
                    earlier.update()


class OpenRun:
    """A run that lines are added to."""

    def __init__(self, tracker: WandbTracker, opened: wandb.Run, run: RunRecord) -> None:
        """Find out which lines are there: the server knows how many, the journal which.

        Lines without a journal were written in order, by a publish whose folder is lost.
        """
        self._tracker, self._opened = tracker, opened
        self._journal = journal_of(tracker.folder, run.id) if tracker.online else None
        self._there: set[str] = set()
        if self._journal is not None:
            known = self._journal.read() or [(line.digest, line.name) for line in lines_of(run)]
            there = known[: opened.starting_step]
            self._journal.write(there)
            self._there = {digest for digest, _ in there}
        for series in run.series:
            self._define(series.step, series.prefixes, summary=False)
        self._define("pictures/step", ("pictures",), summary=True)

    @property
    def entity(self) -> str:
        """The account it belongs to."""
        return self._opened.entity

    @property
    def folder(self) -> str:
        """Name of its local folder."""
        return Path(self._opened.dir).parent.name

    def write(self, lines: Iterable[Line]) -> None:
        """Add the lines that are not there.

        Never ``step=``: the client drops what goes back to an earlier step, and these series each begin at 0.
        """
        with self._tracker.watched():
            for line in lines:
                if self._journal is not None:
                    if line.digest in self._there:
                        continue
                    self._journal.add(line)
                    self._there.add(line.digest)
                self._opened.log(self._row(line))

    def complete(self, run: RunRecord) -> None:
        """Give it the configuration and the summary of the whole run, and its place among bundles of files."""
        with self._tracker.watched():
            if self._opened.resumed:
                config: Any = self._opened.config
                config.update(run.config, allow_val_change=True)
            self._opened.summary.update(run.summary)
            if self._tracker.online:  # offline a bundle could only be named by an absolute path, and none be used
                for bundle in run.uses:
                    self._opened.use_artifact(_artifact(bundle))
                for bundle in run.makes:
                    self._opened.log_artifact(_artifact(bundle))

    def end(self, exit_code: int = 0) -> None:
        """Wait until all of it has arrived, and close it.

        Raises:
            As ``Tracker.publish``; not where it ends badly.
        """
        if exit_code:
            with contextlib.suppress(Exception):
                self._opened.finish(exit_code=exit_code)
        else:
            with self._tracker.watched():
                self._opened.finish()

    def _define(self, step: str, prefixes: Iterable[str], *, summary: bool) -> None:
        """Give metrics a step of their own, so that panels have the right axis by themselves."""
        self._opened.define_metric(step, hidden=True, summary="none")
        for prefix in prefixes:
            # Without `summary="none"` the table of runs would hold every last value twice: here and under `final/`.
            self._opened.define_metric(f"{prefix}/*", step_metric=step, summary=None if summary else "none")

    def _row(self, line: Line) -> dict[str, Any]:
        """What the client logs for a line."""
        match line.content:
            case Table():
                media = _table(line.content)
                # A table that is bound before it is logged is a file of its run. Unbound, the client also makes an
                # artifact of it, outside the run's folder, by an absolute path: the run could not be moved to where
                # there is a network.
                media.bind_to_run(self._opened, line.name, 0)
                return {line.name: media}
            case Picture() as picture:
                image = wandb.Image(Image.fromarray(picture.pixels), caption=picture.caption)
                return {"pictures/step": picture.step, f"pictures/{picture.name}": image}
            case str():
                return {line.name: wandb.Html(line.content, inject=False)}
            case row:
                return row


class _Table(wandb.Table):
    """A table of plain values: the client would look through every cell for arrays, a third of a run's time."""

    def bind_to_run(self, *arguments: Any, **named: Any) -> None:
        """Write the table as a file of the run."""
        path = Path(MEDIA_TMP.name) / f"{generate_id()}.table.json"
        path.write_text(json.dumps({"columns": self.columns, "data": self.data}, allow_nan=False), encoding="utf-8")
        self._set_file(str(path), is_tmp=True, extension=".table.json")
        Media.bind_to_run(self, *arguments, **named)


class _Artifact(wandb.Artifact):
    """An artifact that is not waited for without end: ``use_artifact`` sets no limit of its own."""

    def wait(self, timeout: int | None = None) -> wandb.Artifact:
        """Wait until a server has it."""
        return super().wait(timeout or int(wandb_client.FINISH_SECONDS))


def _artifact(bundle: Bundle) -> wandb.Artifact:
    """Make a W&B artifact; one of the same content is there once, whoever names it."""
    artifact = _Artifact(bundle.name, type=bundle.kind)
    for name, content in bundle.content.items():
        if isinstance(content, str):
            with artifact.new_file(name, mode="w") as file:
                file.write(content)
        else:
            artifact.add_file(str(content), name, policy="immutable", skip_cache=True)  # no copy is made
    return artifact


def _table(table: Table) -> Any:
    """Make a W&B table; columns have their types from the schema, so no cell is inspected (five times faster)."""
    media = _Table(columns=[*table.names], dtype=list(table.columns.values()))
    media.data = table.rows
    return media
