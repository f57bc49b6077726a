"""Slurm on this machine alone: its real daemons in a private folder, on 127.0.0.1. They need root.

    python tests/slurm_here.py --nodes 2 --cpus 2 FOLDER

starts it, prints the `export SLURM_CONF=...` that its commands need, and ends it with its standard input.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "munged")
ACCOUNTING = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")
CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=UsePss,OverMemoryKill
MaxArraySize={max_array}
KillWait={kill_wait}
OverTimeLimit=0
SlurmdTimeout={slurmd_timeout}
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 State=UP PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
    " CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}\n"
)
ACCOUNTED = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos
"""
SLURMDBD = """
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""
MEMORY_A_CPU = 2000  # MiB
READY = 60.0  # seconds that a daemon may take


def missing(accounting: bool = False) -> str | None:
    """Why there can be no Slurm here, if so."""
    if os.getuid() != 0:
        return "Slurm's daemons need root"
    wanted = (*PROGRAMS, *ACCOUNTING) if accounting else PROGRAMS
    absent = [program for program in wanted if not shutil.which(program)]
    if absent:
        return f"no {', '.join(absent)}: apt-get install slurm-wlm munge slurmdbd mariadb-server"
    return None


class Slurm:
    """A cluster of nodes `n1`, `n2`, ...; `SLURM_CONF` of the environment must be `conf` for its commands.

    `daemons` are the processes by name: munged, slurmctld, n1, n2, ... and, with accounting, mariadbd and slurmdbd.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 1,
        cpus: int = 2,
        accounting: bool = False,
        max_array: int = 1001,
        kill_wait: int = 2,
        slurmd_timeout: int = 20,
        gpus: int = 0,
    ) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.conf = self.folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.accounting = accounting
        self.host = socket.gethostname().partition(".")[0]
        self._ports = free_ports(nodes + 2)
        self._write_conf(cpus, gpus, max_array, kill_wait, slurmd_timeout)
        try:
            self._start_all()
        except BaseException:
            self.end()
            raise

    def _write_conf(
        self, cpus: int, gpus: int, max_array: int, kill_wait: int, slurmd_timeout: int
    ) -> None:
        text = CONF.format(
            host=self.host,
            folder=self.folder,
            port=self._ports[0],
            max_array=max_array,
            kill_wait=kill_wait,
            slurmd_timeout=slurmd_timeout,
        )
        for name, port in zip(self.nodes, self._ports[2:], strict=True):
            memory = cpus * MEMORY_A_CPU
            node = {"name": name, "host": self.host, "port": port}
            text += NODE.format(**node, cpus=cpus, memory=memory, gpus=gpus)
        # They must be devices; nothing keeps jobs from them.
        files = [self.folder / f"gpu{number}" for number in range(gpus)]
        for file in files:
            file.symlink_to("/dev/null")
        lines = [f"Name=gpu File={file}\n" for file in files]
        (self.folder / "gres.conf").write_text("".join(lines))
        if self.accounting:
            where = {"host": self.host, "folder": self.folder, "port": self._ports[1]}
            text += ACCOUNTED.format(**where)
            dbd = self.folder / "slurmdbd.conf"
            dbd.write_text(SLURMDBD.format(**where))
            dbd.chmod(0o600)  # slurmdbd refuses another's reading
        self.conf.write_text(text)

    def _start_all(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o600)
        self.start("munged")
        self.until(lambda: (self.folder / "munge.socket").exists())
        if self.accounting:
            self._start_accounting()
        for name in ("slurmctld", *self.nodes):
            self.start(name)
        self.until(self.ready)

    def _start_accounting(self) -> None:
        """Start MariaDB and slurmdbd; then make the cluster, the account `lab`, and root a user of it."""
        data = self.folder / "mariadb"
        self.say(
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )
        self.start("mariadbd")
        self.until(lambda: (self.folder / "mariadb.socket").exists())
        self.start("slurmdbd")
        self.until(lambda: self.succeeds("sacctmgr", "-n", "list", "cluster"))
        self.account("add", "cluster", "here")
        self.account("add", "account", "lab", "cluster=here")
        self.account("add", "user", "root", "account=lab", "cluster=here")

    def account(self, *words: str) -> str:
        """Let sacctmgr do this: `account("modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=10")`."""
        return self.say("sacctmgr", "--immediate", *words)

    def start(self, name: str) -> None:
        """Start a daemon of this name, in a session of its own: no Ctrl-C of ours is meant for it."""
        folder = self.folder
        programs = {
            "munged": [
                *("munged", "--foreground", "--force", f"--key-file={folder}/munge.key"),
                *(f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid"),
                *(f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"),
            ],
            "mariadbd": [
                *("mariadbd", "--no-defaults", f"--datadir={folder}/mariadb", "--user=root"),
                *("--skip-networking", f"--socket={folder}/mariadb.socket"),
                *(f"--pid-file={folder}/mariadb.pid", f"--log-error={folder}/mariadb.log"),
                *("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"),
            ],
            "slurmdbd": ["slurmdbd", "-D"],
            "slurmctld": ["slurmctld", "-D"],
        }
        command = programs.get(name, ["slurmd", "-D", "-N", name])
        with (folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                command,
                env={**self.environment, "MYSQL_UNIX_PORT": f"{folder}/mariadb.socket"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End this daemon; what it has started (a node's step daemons and jobs) goes on."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def say(self, *words: str) -> str:
        """Return what a command says. Raises CalledProcessError if it fails."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise subprocess.CalledProcessError(
                done.returncode, " ".join(words), done.stdout, f"{done.stdout}{done.stderr}"
            )
        return done.stdout

    def succeeds(self, *words: str) -> bool:
        try:
            self.say(*words)
        except subprocess.CalledProcessError:
            return False
        return True

    def queue(self, form: str = "%i %t") -> list[str]:
        """Return a line for each job in the queue, each element of an array by itself."""
        said = self.say("squeue", "--noheader", "--array", f"--format={form}")
        return [line.strip() for line in said.splitlines()]

    def states(self) -> list[str]:
        """Return the state of each node: `idle`, `mix`, `alloc`, `down`, `comp`; with `*` if it does not answer."""
        return self.say("sinfo", "--noheader", "--Node", "--partition=low", "--format=%t").split()

    def ready(self) -> bool:
        """Whether nothing runs, and every node waits for something to."""
        try:
            return self.states() == ["idle"] * len(self.nodes)
        except subprocess.CalledProcessError:
            return False

    def resume_drained(self) -> None:
        """Resume nodes that Slurm has drained: a killed slurmctld may give the id of a job again."""
        for line in self.say("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines():
            name, state = line.split()
            if state.startswith("dr"):
                self.succeeds("scontrol", "update", f"NodeName={name}", "State=RESUME")

    def until(self, condition: Callable[[], object], seconds: float = READY) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [name for name, each in self.daemons.items() if each.poll() is not None]
            assert not dead, f"{dead} ended: see {self.folder}"
            assert time.monotonic() < deadline, f"not within {seconds} s: see {self.folder}"
            time.sleep(0.05)

    def clear(self) -> None:
        """Cancel all jobs, and wait until their nodes are idle."""
        self.say("scancel", "--user=root")
        self.resume_drained()
        self.until(lambda: not self.queue() and self.ready())

    def end(self) -> None:
        """End all jobs and daemons."""
        if "slurmctld" in self.daemons and self.succeeds("scancel", "--user=root"):
            deadline = time.monotonic() + 10
            while not self.ready() and time.monotonic() < deadline:
                time.sleep(0.05)
        for name in reversed(list(self.daemons)):
            self.kill(name, signal.SIGTERM)


@contextmanager
def slurm(folder: Path, **options: int) -> Iterator[Slurm]:
    """Run a Slurm for as long as the block takes."""
    running = Slurm(folder, **options)
    try:
        yield running
    finally:
        running.end()


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        trials = [stack.enter_context(socket.socket()) for _ in range(count)]
        for trial in trials:
            trial.bind(("127.0.0.1", 0))
        return [trial.getsockname()[1] for trial in trials]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where everything of it lies")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2, help="of each node")
    parser.add_argument("--gpus", type=int, default=0, help="of each node; there are none in truth")
    parser.add_argument("--accounting", action="store_true", help="slurmdbd, account `lab`")
    parser.add_argument("--max-array", type=int, default=1001, help="MaxArraySize")
    parser.add_argument("--kill-wait", type=int, default=2, help="KillWait")
    given = parser.parse_args()
    if reason := missing(given.accounting):
        sys.exit(reason)
    with slurm(
        given.folder,
        nodes=given.nodes,
        cpus=given.cpus,
        gpus=given.gpus,
        accounting=given.accounting,
        max_array=given.max_array,
        kill_wait=given.kill_wait,
    ) as running:
        print(f"export SLURM_CONF={running.conf}", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
