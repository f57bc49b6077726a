"""Slurm on this machine alone: its real daemons, for as long as a test takes, on 127.0.0.1. They need root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
CONF = """
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/none
CredType=cred/none
StateSaveLocation={folder}
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=2
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 State=UP
PartitionName=high Nodes=ALL PriorityTier=10 State=UP PreemptMode=OFF
"""


def can() -> bool:
    return os.getuid() == 0 and all(shutil.which(program) for program in PROGRAMS)


class Slurm:
    """`SLURM_CONF` of the environment must be `conf`, for its commands too."""

    def __init__(self, folder: Path, cpus: int) -> None:
        self.conf = folder / "slurm.conf"
        host = socket.gethostname().partition(".")[0]
        self.conf.write_text(CONF.format(host=host, folder=folder, cpus=cpus, ports=free_ports()))
        environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self._daemons = [
            subprocess.Popen([name, "-D"], env=environment) for name in ("slurmctld", "slurmd")
        ]

    def say(self, *words: str) -> str:
        """What a command says."""
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def ready(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False
        )
        return "idle" in done.stdout.split()

    def end(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
            daemon.wait(60)
            time.sleep(0.1)


def free_ports() -> list[int]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in (first, second)]
