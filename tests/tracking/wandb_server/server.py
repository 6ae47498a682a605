"""The server: it listens, disappears and returns, applies faults to requests, and answers operations."""

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.tracking.wandb_server.artifacts import Artifacts
from tests.tracking.wandb_server.reports import Reports
from tests.tracking.wandb_server.runs import Runs
from tests.tracking.wandb_server.state import ENTITY, KEY
from tests.tracking.wandb_server.transport import Fault, Http, handler, reset


class WandbServer(Runs, Reports, Artifacts):
    """The server, with its faults."""

    def __init__(self, key: str = KEY, projects: tuple[str, ...] | None = None) -> None:
        """Listen on a free port; ``projects`` are those that may be written to, or None for all."""
        super().__init__(projects)
        self.key = key
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.faults: list[Fault] = []
        self.gone_after: int | None = None  # requests after which the server disappears
        self.gone_with_lines = False  # it disappears at the first request after one that brought lines of history
        self.stopping = threading.Event()
        self._listen(0)
        self.port = self._http.server_port
        self.address = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Serve."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.disappear()

    def misbehave(self, *faults: Fault) -> None:
        """Apply faults to coming requests; the first fault that fits is used up first."""
        with self.lock:
            self.faults += faults

    def disappear(self) -> None:
        """Close the port and every connection; what was received is kept."""
        self.stopping.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            for connection in list(self._http.connections):
                reset(connection)
            self._thread.join()

    def return_(self) -> None:
        """Listen again on the same port."""
        self.gone_after = None
        self.gone_with_lines = False
        self.faults = []
        self._listen(self.port)

    def _listen(self, port: int) -> None:
        self.stopping = threading.Event()
        self._http = Http(("127.0.0.1", port), handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def fault_for(self, what: str) -> Fault | None:
        """Use up the first fault that fits a request."""
        with self.lock:
            self.requests.append(what)
            gone = self.gone_after is not None and len(self.requests) > self.gone_after
            if gone or (self.gone_with_lines and any(run.lines for run in self.runs.values())):
                threading.Thread(target=self.disappear, daemon=True).start()
                return Fault("reset")
            for fault in self.faults:
                if fault.path in what and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def put(self, path: str, body: bytes) -> None:
        """Store an uploaded file."""
        with self.lock:
            kind, _, rest = path.removeprefix("/storage/").partition("/")
            if kind == "run":
                run, _, name = rest.partition("/")
                self.runs[run].files[name] = body
            else:
                self.storage[rest] = body
                for artifact in self.artifacts.values():
                    if artifact.id == rest.partition("/")[0] and rest.endswith("/manifest"):
                        artifact.manifest = json.loads(body)

    def answer(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Do one GraphQL operation."""
        with self.lock:
            method: Callable[..., dict[str, Any]] | None = getattr(self, f"_{operation}", None)
            if method is None:
                self.unknown.append(operation or query)
                return {}
            return method(variables)

    def _Viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        known = {"id": "u1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
        return {"viewer": {**known, "admin": False, "name": ENTITY, "deletedAt": None, "apiKeys": {"edges": []}}}

    _GetViewer = _GetDefaultEntity = _Viewer

    def _ServerFeaturesQuery(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}
