"""A local server that speaks enough of W&B's protocol for the real client to run online, and misbehaves on command.

    with WandbServer() as server:
        server.misbehave(Fault("status", status=500, times=2))
        ...                                   # a client with WANDB_BASE_URL = server.address
        server.runs["1c2b84c1-s0-43765b73"].history

It keeps what a real one keeps: runs by name with configuration, tags, summary, files, and lines of history by offset (a
line sent twice to one offset is one line); artifacts with their lineage; reports. An operation that it does not know is
answered with empty data and noted in ``unknown``, so that a test can say that there was none.
"""

import base64
import gzip
import itertools
import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

KEY = "f00dfacef00dfacef00dfacef00dfacef00dface"
ENTITY = "lab"


@dataclass
class Fault:
    """How the server answers some requests.

    Attributes:
        kind: ``delay`` answers late; ``status`` does nothing and answers ``status``; ``reset`` does nothing and breaks
            the connection; ``lost`` does what was asked and then breaks the connection; ``silence`` never answers.
        path: Only requests whose path, with the operation's name, contains this.
        times: How many requests are treated so.
        seconds: Of delay or silence.
        status: HTTP status.
    """

    kind: Literal["delay", "status", "reset", "lost", "silence"]
    path: str = ""
    times: int = 1
    seconds: float = 1.0
    status: int = 500


@dataclass
class ServedRun:
    """A run as the server has it."""

    name: str
    project: str
    display_name: str = ""
    group: str = ""
    job_type: str = ""
    state: str = "running"
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    opened: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """All rows, which must have no gaps."""
        assert sorted(self.lines) == list(range(len(self.lines))), sorted(self.lines)
        return [json.loads(self.lines[offset]) for offset in sorted(self.lines)]

    def rows(self) -> list[dict[str, Any]]:
        """History without what the client adds."""
        return [{key: value for key, value in row.items() if not key.startswith("_")} for row in self.history]


@dataclass
class ServedArtifact:
    """An artifact with its files and lineage."""

    id: str
    type: str
    name: str
    digest: str
    made_by: str
    aliases: list[str]
    used_by: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    committed: bool = False
    client_id: str = ""


class WandbServer:
    """The server: state, operations, faults."""

    def __init__(self, key: str = KEY, projects: tuple[str, ...] | None = None) -> None:
        """Listen on a free port; ``projects`` are those that may be written to, all where None."""
        self.key, self.projects = key, projects
        self.runs: dict[str, ServedRun] = {}
        self.artifacts: dict[str, ServedArtifact] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.storage: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self.faults: list[Fault] = []
        self.gone_after: int | None = None  # requests after which the server disappears
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._listen(0)
        self.port = self._http.server_port

    @property
    def address(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Serve."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.disappear()

    def misbehave(self, *faults: Fault) -> None:
        """Treat coming requests badly; the first fault that fits is used up first."""
        with self.lock:
            self.faults += faults

    def disappear(self) -> None:
        """Close the port and every connection; what was received is kept."""
        self.stopping.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            for connection in list(self._http.connections):
                _break(connection)
            self._thread.join()

    def return_(self) -> None:
        """Be there again, on the same port."""
        self.gone_after = None
        self.faults = []
        self._listen(self.port)

    def _listen(self, port: int) -> None:
        self.stopping = threading.Event()
        self._http = _Http(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def fault_for(self, what: str) -> Fault | None:
        """Use up the first fault that fits a request."""
        with self.lock:
            self.requests.append(what)
            if self.gone_after is not None and len(self.requests) > self.gone_after:
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

    def stream(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take lines of a run's files."""
        run = self.runs[path.split("/")[-2]]
        with self.lock:
            for name, chunk in (body.get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    run.lines |= dict(enumerate(chunk["content"], start=chunk["offset"]))
                elif name == "wandb-summary.json":
                    run.summary = json.loads(chunk["content"][-1])
            if body.get("complete"):
                run.exit_code = body.get("exitcode")
                run.state = "finished" if not run.exit_code else "failed"
        return {"exitcode": None, "limits": {}}

    def answer(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Do one GraphQL operation."""
        with self.lock:
            method: Callable[..., dict[str, Any]] | None = getattr(self, f"_{operation}", None)
            if method is None:
                self.unknown.append(operation or query)
                return {}
            return method(variables)

    # Accounts

    def _Viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        known = {"id": "u1", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": teams}
        return {"viewer": {**known, "admin": False, "name": ENTITY, "deletedAt": None, "apiKeys": {"edges": []}}}

    _GetViewer = _GetDefaultEntity = _Viewer

    def _ServerFeaturesQuery(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    # Runs

    def _UpsertBucket(self, v: dict[str, Any]) -> dict[str, Any]:
        name = v.get("name") or (v["id"] or "").removeprefix("run-")
        project = v.get("project") or "uncategorized"
        if self.projects is not None and project not in self.projects:
            raise Refused(404, f"project {project} not found")
        inserted = name not in self.runs
        run = self.runs.setdefault(name, ServedRun(name, project))
        run.opened += v.get("commit") is not None or v.get("displayName") is not None
        run.display_name = v.get("displayName") or run.display_name
        run.group = v.get("groupName") or run.group
        run.job_type = v.get("jobType") or run.job_type
        run.state = v.get("state") or run.state
        if v.get("tags") is not None:
            run.tags = list(v["tags"])
        if v.get("config"):
            given = {key: entry["value"] for key, entry in json.loads(v["config"]).items()}
            run.about |= given.pop("_wandb", {})
            run.config |= given
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    _UpsertRun = _UpsertBucket

    def _bucket(self, run: ServedRun) -> dict[str, Any]:
        project = {"id": f"project-{run.project}", "name": run.project, "entity": {"id": "e1", "name": ENTITY}}
        lines = [run.lines[offset] for offset in sorted(run.lines)]
        return {
            "id": f"run-{run.name}",
            "name": run.name,
            "displayName": run.display_name,
            "description": None,
            "notes": None,
            "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
            "sweepName": None,
            "tags": run.tags,
            "group": run.group,
            "jobType": run.job_type,
            "state": run.state,
            "project": project,
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(lines[-1:]),
            "eventsTail": "[]",
            "wandbConfig": json.dumps({key: run.about[key] for key in ("t",) if key in run.about}),
            "historyKeys": None,
            "commit": None,
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00",
            "systemMetrics": "{}",
            "readOnly": False,
            "user": {"name": ENTITY, "username": ENTITY},
            "projectId": "1",
            "internalId": "1",
        }

    def _RunResumeStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        project = {"id": "p", "name": v["project"], "entity": {"id": "e1", "name": ENTITY}}
        return {"model": {**project, "bucket": self._bucket(run) if run else None}}

    def _Run(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        return {"project": {"internalId": "1", "run": self._bucket(run) if run else None}}

    _GetRun = _GetLightRun = _LightRun = _Run

    def _RunStoppedStatus(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": {"stopped": False}}}

    def _CreateRunFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": n, "uploadUrl": f"{self.address}/storage/run/{v['run']}/{n}"} for n in v["files"]]
        return {"createRunFiles": {"runID": f"run-{v['run']}", "uploadHeaders": [], "files": files}}

    # Projects and reports

    def _GetProjects(self, v: dict[str, Any]) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        about = {"entityName": ENTITY, "createdAt": "2026-01-01T00:00:00", "isBenchmark": False, "user": None}
        edges = [{"node": {"__typename": "Project", "id": name, "name": name, **about}} for name in names]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"edges": edges, "pageInfo": page}}

    def _ProjectViews(self, v: dict[str, Any]) -> dict[str, Any]:
        if v["project"] not in {run.project for run in self.runs.values()}:
            return {"project": None}
        of_project = [each for each in self.reports.values() if each["projectName"] == v["project"]]
        edges = [{"node": {**self._view(each["id"]), "user": None}, "cursor": each["id"]} for each in of_project]
        return {"project": {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}}

    def _ProjectInternalId(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": f"project-{v['projectName']}", "internalId": f"project-{v['projectName']}"}}

    def _upsertView(self, v: dict[str, Any]) -> dict[str, Any]:
        inserted = v["id"] is None
        identifier = v["id"] or f"report-{next(self._numbers)}"
        if not inserted and identifier not in self.reports:
            raise Refused(404, f"view {identifier} not found")
        self.reports[identifier] = {**v, "id": identifier}
        return {"upsertView": {"view": self._view(identifier), "inserted": inserted}}

    def _deleteView(self, v: dict[str, Any]) -> dict[str, Any]:
        gone = self.reports.pop(v["id"], None)
        return {"deleteView": {"success": gone is not None, "pendingDrafts": 0, "__typename": "DeleteViewPayload"}}

    def _view(self, identifier: str) -> dict[str, Any]:
        report = self.reports[identifier]
        project = {"id": "p", "name": report["projectName"], "entityName": report["entityName"]}
        kept = {key: report[key] for key in ("id", "type", "name", "displayName", "description", "spec")}
        return {**kept, "project": project, "updatedAt": "2026-01-01T00:00:00", "createdAt": "2026-01-01T00:00:00"}

    # Artifacts

    def _CreateArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v["input"]
        name = (
            given["artifactCollectionName"]
            if "artifactCollectionName" in given
            else given["artifactCollectionNames"][0]
        )
        same = [a for a in self.artifacts.values() if (a.name, a.digest) == (name, given["digest"])]
        if same and same[0].committed:
            return {"createArtifact": {"artifact": self._artifact(same[0])}}
        run = given.get("runName") or ""
        artifact = ServedArtifact(
            f"artifact-{next(self._numbers)}",
            given["artifactTypeName"],
            name,
            given["digest"],
            run,
            [alias["alias"] for alias in given.get("aliases") or []],
            client_id=given.get("clientID") or "",
        )
        self.artifacts[artifact.id] = artifact
        return {"createArtifact": {"artifact": self._artifact(artifact)}}

    def _artifact(self, artifact: ServedArtifact) -> dict[str, Any]:
        return {
            "id": artifact.id,
            "state": "COMMITTED" if artifact.committed else "PENDING",
            "artifactSequence": {"id": f"sequence-{artifact.name}", "latestArtifact": None},
        }

    def _CreateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        file = {"id": "f", "name": "m", "displayName": "m", "uploadHeaders": []}
        file["uploadUrl"] = f"{self.address}/storage/artifact/{v['artifactID']}/manifest"
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{v['artifactID']}", "file": file}}}

    def _UpdateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        identifier = v["artifactManifestID"]
        url = f"{self.address}/storage/artifact/{identifier.removeprefix('manifest-')}/manifest"
        file = {"id": "f", "name": "m", "displayName": "m", "uploadHeaders": [], "uploadUrl": url}
        return {"updateArtifactManifest": {"artifactManifest": {"id": identifier, "file": file}}}

    def _CreateArtifactFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for spec in v["input"]["artifactFiles"]:
            owner = {"id": spec["artifactID"]}
            path = f"{spec['artifactID']}/{spec['name']}"
            node = {
                "id": "f",
                "name": spec["name"],
                "displayName": spec["name"],
                "storagePath": path,
                "uploadUrl": f"{self.address}/storage/artifact/{path}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": owner,
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[v["artifactID"]]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    def _UseArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v["input"]
        artifact = self.artifacts[given["artifactID"]]
        if given["runName"] not in artifact.used_by:
            artifact.used_by.append(given["runName"])
        return {"useArtifact": {"artifact": {"id": artifact.id}}}

    def _ClientIDMapping(self, v: dict[str, Any]) -> dict[str, Any]:
        found = [a.id for a in self.artifacts.values() if a.client_id == v["clientID"]]
        return {"clientIDMapping": {"serverID": found[0]} if found else None}

    def _ArtifactType(self, v: dict[str, Any]) -> dict[str, Any]:
        kinds = [a.type for a in self.artifacts.values() if a.name == v["name"].partition(":")[0]]
        return {"project": {"artifact": {"artifactType": {"name": kinds[0]}} if kinds else None}}

    def _ArtifactByID(self, v: dict[str, Any]) -> dict[str, Any]:
        artifact = self.artifacts[v["id"]]
        entity = {"id": "e1", "name": ENTITY, "__typename": "Entity"}
        project = {"id": "p", "internalId": "p", "name": "p", "entity": entity, "__typename": "Project"}
        sequence = {"id": "s", "name": artifact.name, "project": project, "__typename": "ArtifactSequence"}
        about = {
            "versionIndex": 0,
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": "{}",
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "size": 1,
            "digest": artifact.digest,
            "commitHash": "0",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [],
        }
        return {"artifact": {**self._artifact(artifact), **about, "artifactSequence": sequence}}

    def _XXHashDigestsEnabled(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"entity": {"xxhashDigestsEnabled": False}}


class Refused(Exception):
    """A GraphQL error with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        """Say which."""
        super().__init__(message)
        self.status = status


class _Http(ThreadingHTTPServer):
    """Keeps its connections, so that it can break them."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that was broken on purpose is no news."""


def _break(connection: socket.socket) -> None:
    """Close with a reset, not an end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    except OSError:
        pass


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            path = unquote(self.path)
            asked = json.loads(body) if path == "/graphql" else {}
            operation = asked.get("operationName") or _operation(asked.get("query", "")) if asked else ""
            fault = server.fault_for(f"{self.command} {path} {operation}".strip())
            if fault and fault.kind in ("delay", "silence"):
                server.stopping.wait(fault.seconds)
            if fault and fault.kind == "status":
                return self._send(fault.status, {"errors": [{"message": f"on command: {fault.status}"}]})
            if fault and fault.kind in ("reset", "silence"):
                return self._reset()
            status = 200
            answer: dict[str, Any] = {}
            if path == "/graphql":
                try:
                    given = base64.b64encode(f"api:{server.key}".encode()).decode()
                    if self.headers.get("Authorization") != f"Basic {given}":
                        raise Refused(401, "user is not logged in")
                    answer = {"data": server.answer(operation, asked["query"], asked.get("variables") or {})}
                except Refused as error:
                    status, answer = error.status, {"errors": [{"message": str(error)}], "data": None}
            elif path.startswith("/storage/"):
                server.put(path, body)
            elif path.endswith("/file_stream"):
                answer = server.stream(path, json.loads(body))
            elif not path.startswith("/sdk/otel/"):  # `wandb sync` reports its own performance
                server.unknown.append(path)
            if fault and fault.kind == "lost":
                return self._reset()
            return self._send(status, answer)

        do_PUT = do_GET = do_POST

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _reset(self) -> None:
            self.close_connection = True
            _break(self.connection)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    return Handler


def _operation(query: str) -> str:
    """Name of an operation that is not named beside its text."""
    found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
    return found[1] if found else ""
