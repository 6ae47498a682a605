"""The boundary to experiment trackers: one run in, where it went out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nfa.tracking.record.run import RunRecord


@dataclass(frozen=True)
class Sent:
    """Where a published run is.

    Attributes:
        folder: Name of its local folder below the tracker's folder; None if it has none.
        sent: Whether a server has all of it.
        linked: Whether it also knows the bundles of files that the run used and made.
    """

    folder: str | None
    sent: bool
    linked: bool = False


class TrackerError(Exception):
    """One run could not be published; the next one may be."""


class TrackerUnavailableError(TrackerError):
    """No run can be published now: the tracker is not installed, or its server does not answer."""


class Tracker(Protocol):
    """Somewhere runs are published to, one at a time. Another tracker is one more class with these two methods."""

    def publish(self, run: "RunRecord") -> Sent:
        """Publish one run, all of it.

        Raises:
            TrackerError: This run is not published; what is left of it in the folder is the caller's to remove.
            TrackerUnavailableError: Neither this nor any other run can be published now.
            UserError: A setting is wrong: the project, the account, the key.
        """

    def close(self) -> None:
        """Release what the tracker holds. Never raises."""
