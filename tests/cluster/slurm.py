"""A Slurm for tests: a controller and two nodes on one machine, with all files below one folder."""

import contextlib
import ctypes
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.helpers import ROOT

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
NODES = ("alpha", "beta")
PLACES = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
WITHOUT_ACCOUNTING = ROOT / "profiles" / "slurm" / "without-accounting"
PR_SET_PDEATHSIG = 1  # of linux/prctl.h

# Two nodes of one core each are one machine's two cores. Waits are as short as Slurm allows; the rest is as on clusters
# whose administrator did nothing special. `cred_expire` is also how long a requeued job must wait.
CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
SlurmctldTimeout=5
SlurmdTimeout=10
KillWait=10
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=alpha NodeHostname=localhost NodeAddr=127.0.0.1 Port={alpha_port} CPUs=1 RealMemory=32000 Gres=gpu:1
NodeName=beta NodeHostname=localhost NodeAddr=127.0.0.1 Port={beta_port} CPUs=1 RealMemory=32000
PartitionName=normal Nodes=alpha,beta Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=gpu Nodes=alpha MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=alpha,beta MaxTime=INFINITE State=UP PriorityTier=2
"""


def missing() -> list[str]:
    """List the programs of Slurm and munge that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=PLACES) is None]


class Slurm:
    """The daemons of a Slurm, and its commands.

    ``slurmd`` is killed by ``fail`` as if its machine had lost power.
    """

    def __init__(self, folder: Path) -> None:
        """Write the configuration; nothing runs yet."""
        self.folder, self.configuration = folder, folder / "slurm.conf"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "bin", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        ports = dict(zip(("controller_port", *(f"{node}_port" for node in NODES)), _free_ports(3), strict=True))
        self.configuration.write_text(CONFIGURATION.format(folder=folder, user=getpass.getuser(), **ports))
        (folder / "gres.conf").write_text("NodeName=alpha Name=gpu File=/dev/null\n")
        (folder / "cgroup.conf").write_text("# None: processes are found in /proc.\n")
        # The executor plugin takes SLURM_* out of the environment of srun; clusters have their file in /etc.
        srun = folder / "bin" / "srun"
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.configuration} exec {shutil.which("srun", path=PLACES)} "$@"\n')
        srun.chmod(0o755)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which commands use this Slurm."""
        folders = [str(self.folder / "bin"), str(WITHOUT_ACCOUNTING), PLACES]
        return {"SLURM_CONF": str(self.configuration), "PATH": os.pathsep.join(folders)}

    def start(self) -> None:
        """Start all daemons, and wait until both nodes are ready."""
        munge = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        options = [f"--{option}={self.folder / name}" for option, name in munge.items()]
        self._start("munged", "--foreground", "--force", f"--log-file={self.folder / 'munged.log'}", *options)
        wait_until((self.folder / "munge.sock").exists, "munged has no socket")
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        wait_until(lambda: self.states("sinfo", "-h", "-o", "%T") == {"idle"}, "the nodes did not come up", 60)

    def start_controller(self) -> None:
        """Start the controller, from its saved state if there is one."""
        self._start("slurmctld", "-D", "-f", str(self.configuration))

    def start_node(self, node: str) -> None:
        """Start a node's daemon."""
        self._start("slurmd", "-D", "-N", node, "-f", str(self.configuration), name=node)

    def stop_controller(self) -> None:
        """Stop the controller; nodes and jobs go on."""
        controller = self._running.pop("slurmctld")
        controller.terminate()
        controller.wait(timeout=60)

    def fail(self, node: str) -> None:
        """Kill the daemon of a node and all jobs on the node."""
        daemon = self._running.pop(node)
        daemon.kill()
        daemon.wait()
        jobs = self.jobs_on(node)
        for job in jobs:
            # Its step daemon goes first: it would report the job as failed, where a lost node reports nothing.
            _signal([pid for pid in self.processes() if _title(pid).startswith(f"slurmstepd: [{job}.")], signal.SIGKILL)
            self.signal(job, signal.SIGKILL)

    def signal(self, job: str, number: signal.Signals) -> bool:
        """Send a signal to all processes of a job except those of Slurm; return False if there are none yet."""
        pids = [pid for pid in self.processes() if f"SLURM_JOB_ID={job}" in _environment(pid)]
        _signal([pid for pid in pids if not _title(pid).startswith("slurmstepd:")], number)
        return bool(pids)

    def command(self, *words: str) -> str:
        """Run a command of Slurm and return its output, which is empty while the controller does not answer."""
        done = subprocess.run(words, env={**os.environ, **self.variables}, capture_output=True, text=True, timeout=60)
        return done.stdout

    def states(self, *words: str) -> set[str]:
        """Return the different words of the output of a command."""
        return set(self.command(*words).split())

    def jobs(self, *options: str) -> dict[str, str]:
        """Return the state of every job that the controller knows: number -> state."""
        lines = self.command("squeue", "-h", "--states=all", "-o", "%i %T", *options).splitlines()
        return dict(line.split() for line in lines)

    def jobs_on(self, node: str) -> list[str]:
        """List the jobs that run on a node."""
        return self.command("squeue", "-h", "-t", "R", "-w", node, "-o", "%i").split()

    def job(self, number: str) -> dict[str, str]:
        """Return all properties of a job."""
        words = self.command("scontrol", "-o", "show", "job", number).split()
        return {key: value for key, _, value in (word.partition("=") for word in words)}

    def stages(self, number: str) -> set[tuple[str, str]]:
        """Read from the script of a job which stages of which cells it runs: (stage, cell)."""
        script = self.command("scontrol", "write", "batch_script", number, "-")
        return set(re.findall(r"'(\w+):cell=([^']+)'", script))

    def cells(self, *options: str) -> dict[str, str]:
        """Return the number of the last job of each cell, from the scripts that were submitted: cell -> number."""
        return {cell: number for number in sorted(self.jobs(*options), key=int) for _, cell in self.stages(number)}

    def processes(self) -> list[int]:
        """List all processes of this Slurm: daemons, jobs, and the processes that jobs started."""
        return [pid for pid in _all_processes() if f"SLURM_CONF={self.configuration}" in _environment(pid)]

    def stop(self) -> None:
        """Stop the jobs and then the daemons, and kill all processes that remain."""
        self.command("scancel", "--full", "--user", getpass.getuser())
        for name in ("slurmctld", *NODES, "munged"):
            if name in self._running:
                self._running[name].terminate()
        for daemon in self._running.values():
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        while left := self.processes():
            _signal(left, signal.SIGKILL)
            time.sleep(0.05)

    def _start(self, program: str, *options: str, name: str | None = None) -> None:
        """Start a daemon that ends when this process ends."""
        path = shutil.which(program, path=PLACES)
        assert path is not None
        name = name or program
        with (self.folder / f"{name}.out").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [path, *options],
                env={**os.environ, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )


def wait_until(condition: Callable[[], bool], otherwise: str, timeout: float = 120) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(number: int) -> list[int]:
    """Return free ports of the local network interface."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if int(entry.name) != os.getpid()]


def _environment(pid: int) -> list[str]:
    """Return the environment that a process was started with; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _title(pid: int) -> str:
    """Return the command line of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to the processes that still exist."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
