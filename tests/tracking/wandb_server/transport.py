"""HTTP with faults on command: requests are read, changed by faults, and passed to the server."""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import struct
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from tests.tracking.wandb_server.state import Refused

if TYPE_CHECKING:
    from tests.tracking.wandb_server.server import WandbServer


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


class Http(ThreadingHTTPServer):
    """An HTTP server that keeps its connections, so that it can break them."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        """Start without connections."""
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember a connection."""
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Remove a connection."""
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not report a connection that was broken on purpose."""


def reset(connection: socket.socket) -> None:
    """Close a connection with a reset instead of an orderly end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    except OSError:
        pass


def handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
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
            reset(self.connection)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    return Handler


def _operation(query: str) -> str:
    """Return the name of an operation from its text."""
    found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
    return found[1] if found else ""
