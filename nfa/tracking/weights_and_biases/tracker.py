"""The W&B tracker: it publishes finished runs whole, and lets runs grow while their stages work.

``WandbTracker`` starts the client's service process, which serves all runs: the start takes 0.2 s, each run after that
about 0.1 s. ``OpenRun`` is one run in W&B. It writes the run's content as lines of an append-only history
(``nfa.tracking.journal``) and skips the lines that the server already has.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from PIL import Image
from wandb.errors import CommError

from nfa.errors import UserError
from nfa.jobs.progress import event
from nfa.tracking.journal import Line, journal_of, lines_of
from nfa.tracking.record.bundle import Bundle
from nfa.tracking.record.pictures import RunPicture
from nfa.tracking.record.run import RunRecord
from nfa.tracking.record.tables import RunTable
from nfa.tracking.tracker import Sent, TrackerError
from nfa.tracking.weights_and_biases import client as wandb_client
from nfa.tracking.weights_and_biases.client import check_login, client_settings, explained
from nfa.tracking.weights_and_biases.environment import client_environment, in_own_folder
from nfa.tracking.weights_and_biases.internals import SERVICE_ENDED, PlainTable, refuse_a_client_in_use

SUPERSEDED = "superseded"  # tag of a run that a newer run of changed content replaces


class WandbTracker:
    """Publishes runs to W&B, or to folders that `wandb sync` uploads later."""

    def __init__(self, folder: Path, mode: Literal["offline", "online"], project: str, entity: str | None) -> None:
        """Start the client's service process.

        Args:
            folder: Folder of the local runs.
            mode: ``offline`` writes folders that ``wandb sync`` uploads later; ``online`` sends to the server.
            project: W&B project of the runs.
            entity: Account or team of the runs; None for the account's default.

        Raises:
            UserError: The name of the project is invalid, or this process has opened the client already; online also:
                the API key is missing or wrong, or the team does not exist.
            TrackerUnavailableError: The service process does not start, or the server does not answer.
        """
        refuse_a_client_in_use()
        self.online = mode == "online"
        self.folder = folder
        self.not_linked: str | None = None  # the reason why the server refused the artifacts of a run
        self._takes_artifacts = False  # True once it has taken those of a run
        self._held = contextlib.ExitStack()
        self._held.enter_context(client_environment(folder, self.online))
        try:
            with explained():
                self._settings = client_settings(folder, mode, project, entity)
                self._start()
                if self.online:
                    check_login(entity)
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Start the client's service process."""
        with in_own_folder(self.folder):
            wandb.setup(self._settings)

    def publish(self, run: RunRecord) -> Sent:
        """Publish one complete run; see ``Tracker.publish``.

        The bundles of the first run are linked only after it has arrived, because a client that cannot deliver an
        artifact cannot close the run. If the server takes them, those of the next runs are linked at once; if it
        refuses them, the next runs have no links.
        """
        bundles = self.online and bool(run.uses or run.makes)
        folder = self._send(run, link=bundles and self._takes_artifacts)
        if bundles and not self._takes_artifacts and self.not_linked is None:
            try:
                self._send(run, link=True)
            except (TrackerError, UserError) as error:
                self.not_linked = str(error)
            self._takes_artifacts = self.not_linked is None
        linked = bundles and self.not_linked is None
        return Sent(folder, sent=self.online, linked=linked, not_linked=self.not_linked if bundles else None)

    def _send(self, run: RunRecord, link: bool) -> str:
        """Send what the server does not have of a run, and wait until it has arrived; return the name of its folder."""
        opened = self.begin(run)
        try:
            opened.write(lines_of(run))
            opened.complete(run)
            if link and self.not_linked is None:
                self.not_linked = opened.link(run)
        except BaseException:
            opened.end(exit_code=1)
            raise
        opened.end()
        if self.online:
            self._tag_replaced(opened.entity, run.replaces)
        return opened.folder

    def begin(self, run: RunRecord) -> "OpenRun":
        """Open a run; online, resume the run of the same id if the server has one.

        Raises:
            TrackerError: See ``Tracker.publish``, also for the other errors.
        """
        with self.watched():
            with in_own_folder(self.folder):
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
        """Return the account or team that owns the runs.

        Raises:
            TrackerError: See ``Tracker.publish``, also for the other errors.
        """
        with self.watched():
            return str(self._settings.entity or wandb.Api().default_entity)

    def close(self) -> None:
        """Stop the service process, but wait for it no longer than a limit, and put the environment back. Never raises.

        The client itself would wait without limit. A service that is left behind ends with this process.
        """
        closing = threading.Thread(target=_teardown, daemon=True)
        with self._held:
            closing.start()
            closing.join(wandb_client.CLOSE_SECONDS)
        if closing.is_alive():
            event(
                f"W&B: warning: the client did not end within {wandb_client.CLOSE_SECONDS:.0f} s and is left behind; "
                f"its runs are in {self.folder}, and {'`nfa publish`' if self.online else '`wandb sync`'} sends them"
            )

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the client's errors into those of ``nfa.tracking.tracker``; restart its service process if it died."""
        with explained():
            try:
                yield
            except SERVICE_ENDED as error:
                _teardown()
                self._start()
                raise TrackerError(
                    "the service process of the W&B client died; it was started again for the next run"
                ) from error

    def _tag_replaced(self, entity: str, replaced: Sequence[str]) -> None:
        """Tag runs of earlier content as superseded, so that filters leave them out; skip runs that were deleted."""
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
    """One open run, to which lines of history are added."""

    def __init__(self, tracker: WandbTracker, opened: wandb.Run, run: RunRecord) -> None:
        """Find out which lines the server has: the server knows how many, the journal knows which.

        If the journal is lost, an earlier publish wrote the lines in their standard order.
        """
        self._tracker, self._opened = tracker, opened
        self._journal = journal_of(tracker.folder, run.id) if tracker.online else None
        self._sent: set[str] = set()
        if self._journal is not None:
            handed_over = self._journal.read() or [(line.digest, line.name) for line in lines_of(run)]
            arrived = handed_over[: opened.starting_step]
            self._journal.write(arrived)
            self._sent = {digest for digest, _ in arrived}
        for series in run.series:
            self._define(series.step, series.prefixes, summary=False)
        self._define("pictures/step", ("pictures",), summary=True)

    @property
    def entity(self) -> str:
        """Account or team that owns the run."""
        return self._opened.entity

    @property
    def folder(self) -> str:
        """Name of the run's local folder."""
        return Path(self._opened.dir).parent.name

    def write(self, lines: Iterable[Line]) -> None:
        """Add the lines that the server does not have.

        The lines carry their steps themselves. With the client's argument ``step=``, it would drop every line whose
        step is earlier than the last one, and each series begins at step 0.
        """
        with self._tracker.watched():
            for line in lines:
                if self._journal is not None:
                    if line.digest in self._sent:
                        continue
                    self._journal.add(line)
                    self._sent.add(line.digest)
                self._opened.log(self._row(line))

    def complete(self, run: RunRecord) -> None:
        """Set the configuration and summary of the complete run."""
        with self._tracker.watched():
            if self._opened.resumed:
                config: Any = self._opened.config
                config.update(run.config, allow_val_change=True)
            self._opened.summary.update(run.summary)

    def link(self, run: RunRecord) -> str | None:
        """Link the run's file bundles as artifacts. Online only: an offline run could name them only by absolute paths.

        Returns:
            None, or the reason why the server did not take them: the run is complete without them.
        """
        try:
            with self._tracker.watched():
                for bundle in run.uses:
                    self._opened.use_artifact(_artifact(bundle))
                for bundle in run.makes:
                    self._opened.log_artifact(_artifact(bundle)).wait()
        except (TrackerError, UserError) as error:
            return str(error)
        return None

    def end(self, exit_code: int = 0) -> None:
        """Close the run; with exit code 0, wait until all of it has arrived.

        Raises:
            TrackerError: See ``Tracker.publish``. With another exit code than 0, nothing is raised.
        """
        if exit_code:
            with contextlib.suppress(Exception):
                self._opened.finish(exit_code=exit_code)
        else:
            with self._tracker.watched():
                self._opened.finish()

    def _define(self, step: str, prefixes: Iterable[str], *, summary: bool) -> None:
        """Set ``step`` as the x-axis of all metrics with these prefixes."""
        self._opened.define_metric(step, hidden=True, summary="none")
        for prefix in prefixes:
            # Without `summary="none"`, W&B's table of runs would show each final value twice: here and under `final/`.
            self._opened.define_metric(f"{prefix}/*", step_metric=step, summary=None if summary else "none")

    def _row(self, line: Line) -> dict[str, Any]:
        """Build the dictionary that the client logs for a line."""
        match line.content:
            case RunTable():
                media = _table(line.content)
                # A table that is bound to its run before it is logged becomes a file of the run. Otherwise the client
                # also makes an artifact of the table, outside the run's folder and by an absolute path, and the run
                # could not be copied to another machine for `wandb sync`.
                media.bind_to_run(self._opened, line.name, 0)
                return {line.name: media}
            case RunPicture() as picture:
                image = wandb.Image(Image.fromarray(picture.pixels), caption=picture.caption)
                return {"pictures/step": picture.step, f"pictures/{picture.name}": image}
            case str():
                return {line.name: wandb.Html(line.content, inject=False)}
            case row:
                return row


def _teardown() -> None:
    """Wait for the end of the client's service process. The client exits the interpreter if the service ended badly."""
    with contextlib.suppress(Exception, SystemExit):
        wandb.teardown()


class _Artifact(wandb.Artifact):
    """An artifact with a limited wait: the client would wait for the server forever."""

    def wait(self, timeout: int | None = None) -> wandb.Artifact:
        """Wait until the server has the artifact."""
        return super().wait(timeout or int(wandb_client.FINISH_SECONDS))


def _artifact(bundle: Bundle) -> wandb.Artifact:
    """Make a W&B artifact. The server stores the same content only once, however many runs name it."""
    artifact = _Artifact(bundle.name, type=bundle.kind)
    for name, content in bundle.content.items():
        if isinstance(content, str):
            with artifact.new_file(name, mode="w") as file:
                file.write(content)
        else:
            artifact.add_file(str(content), name, policy="immutable", skip_cache=True)  # makes no copy
    return artifact


def _table(table: RunTable) -> Any:
    """Make a W&B table. Column types come from the record, so the client infers none from cells: five times faster."""
    media = PlainTable(columns=[*table.names], dtype=list(table.columns.values()))
    media.data = table.rows
    return media
