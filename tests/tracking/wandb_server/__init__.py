"""A local server that speaks enough of W&B's protocol for the real client, and has faults on command.

    with WandbServer() as server:
        server.misbehave(Fault("status", status=500, times=2))
        ...                                   # a client with WANDB_BASE_URL = server.address
        server.runs["1c2b84c1-s0-43765b73"].history

It keeps what a real one keeps: runs by name with configuration, tags, summary, files, and lines of history by offset (a
line sent twice to one offset is one line); artifacts with their lineage; reports. An operation that it does not know is
answered with empty data and noted in ``unknown``, so that a test can say that there was none.
"""

from tests.tracking.wandb_server.server import WandbServer
from tests.tracking.wandb_server.state import ENTITY, KEY
from tests.tracking.wandb_server.transport import Fault

__all__ = ["ENTITY", "KEY", "Fault", "WandbServer"]
