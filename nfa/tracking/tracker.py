"""The interface to experiment trackers: a class with ``publish`` and ``close``, and the errors that it raises."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nfa.tracking.record.run import RunRecord


@dataclass(frozen=True)
class Sent:
    """Where a run was published to.

    Attributes:
        folder: Name of its local folder in the tracker's folder; None if it has none.
        sent: True if the server has the complete run.
        linked: True if the server also knows the file bundles that the run used and made.
        not_linked: The reason why the server did not take them, if it refused them.
    """

    folder: str | None
    sent: bool
    linked: bool = False
    not_linked: str | None = None


class TrackerError(Exception):
    """One run could not be published; others may succeed."""


class TrackerUnavailableError(TrackerError):
    """No run can be published now: the tracker is not installed, or its server does not answer."""


class Tracker(Protocol):
    """An experiment tracker, which publishes one run at a time. A new tracker is one class with these two methods."""

    def publish(self, run: "RunRecord") -> Sent:
        """Publish one complete run.

        Raises:
            TrackerError: This run is not published. The caller removes the incomplete local folder.
            TrackerUnavailableError: Neither this nor any other run can be published now.
            UserError: The project, the account or the API key is wrong.
        """

    def close(self) -> None:
        """Release the tracker's processes and connections. Never raises."""
