"""Fixtures: a small sweep with fake results, the sweep published once, and local servers."""

import contextlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfa.stages.aggregate import aggregate
from nfa.stages.publish import publish
from nfa.storage.paths import SweepPaths
from nfa.sweep.cells import Sweep
from nfa.sweep.grid import parse
from nfa.tracking.publication import PublishSummary
from nfa.tracking.weights_and_biases import client as wandb_client
from tests import fake_results
from tests.tracking.reading import DOCUMENT, ONLINE
from tests.tracking.wandb_server import KEY, WandbServer


@dataclass(frozen=True)
class Published:
    """A sweep whose runs are published offline."""

    sweep: Sweep
    results: Path
    paths: SweepPaths
    summary: PublishSummary


@pytest.fixture(scope="session")
def sweep() -> Sweep:
    """Two cells (a vector task, an image task), two seeds."""
    return parse(DOCUMENT, "test")


@pytest.fixture
def results(sweep: Sweep, tmp_path: Path) -> Path:
    """Fresh results of the small sweep."""
    fake_results.write(sweep, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture(scope="session")
def published(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The small sweep, published once; do not change it."""
    results = tmp_path_factory.mktemp("published")
    paths = fake_results.write(sweep, results)
    return Published(sweep, results, paths, publish(sweep, results))


@pytest.fixture(scope="session")
def aggregated_once(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep with its tables, figures and page; do not change it."""
    results = tmp_path_factory.mktemp("aggregated")
    fake_results.write(sweep, results)
    aggregate(sweep, results)
    return results


@pytest.fixture
def aggregated(aggregated_once: Path, tmp_path: Path) -> Path:
    """Results with tables, figures and page, to be published."""
    return shutil.copytree(aggregated_once, tmp_path / "results")


@pytest.fixture
def online() -> Sweep:
    """The small sweep, online."""
    return parse(ONLINE, "test")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A local W&B server that the client uses, with short time limits."""
    monkeypatch.setattr(wandb_client, "INIT_SECONDS", 10.0)
    monkeypatch.setattr(wandb_client, "FINISH_SECONDS", 20.0)
    monkeypatch.setattr(wandb_client, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(wandb_client, "RETRY_SECONDS", 0.5)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        yield server
        assert not server.unknown


@pytest.fixture
def listening() -> Iterator[tuple[socket.socket, list[int]]]:
    """A local port that counts connections and never answers."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    connections: list[int] = []
    stop = threading.Event()

    def accept() -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, address = server.accept()
                connections.append(address[1])
                client.close()

    thread = threading.Thread(target=accept)
    thread.start()
    yield server, connections
    stop.set()
    thread.join()
    server.close()


@pytest.fixture
def listener(listening: tuple[socket.socket, list[int]]) -> Callable[[], int]:
    """Count the connections so far."""
    return lambda: len(listening[1])


@pytest.fixture
def listener_port(listening: tuple[socket.socket, list[int]]) -> int:
    """Port of the listener."""
    return int(listening[0].getsockname()[1])
