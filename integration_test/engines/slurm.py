# SPDX-License-Identifier: Apache-2.0
"""Slurm on one machine: a controller, a node and the programs of users, with oci.conf as
docs/slurm.md has it."""

import os
from pathlib import Path

import cases_slurm
from engines import Engine
from harness import Daemon, command, until, words

CONFIGURATION = """\
ClusterName=soute
SlurmctldHost=engines(10.78.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
ReturnToService=2
KillWait=2
SlurmdDebug=verbose
# The cgroups are the runtime's work.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
NodeName=engines NodeAddr=10.78.0.1 CPUs=8 RealMemory=512 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm(Engine):
    kind = "slurm"

    @staticmethod
    def cases(smoke):
        return [] if smoke else cases_slurm.CASES

    def start(self):
        # Slurm listens only where there is more than loopback.
        for line in ("ip link add net0 type bridge", "ip addr add 10.78.0.1/24 dev net0", "ip link set net0 up"):
            command(line).ok()
        self.munge()
        conf, self.root = self.home / "conf", self.home / "runtime"
        for name in ("conf", "state", "spool"):
            (self.home / name).mkdir()
        (conf / "slurm.conf").write_text(CONFIGURATION.format(home=self.home))
        lines = (Path(__file__).parents[2] / "packaging/slurm-oci.conf").read_text()
        (conf / "oci.conf").write_text(lines.replace("/usr/bin/soute", f"{self.binary} --root {self.root}"))
        self.env = {**os.environ, "SLURM_CONF": str(conf / "slurm.conf")}
        flags = ["-D", "-f", conf / "slurm.conf"]
        self.daemons = []
        for name in ("slurmctld", "slurmd"):
            daemon = Daemon([name, *flags], self.home / f"{name}.log", self.env)
            self.daemons.insert(0, daemon)
            daemon.ready(f"{name} answers", lambda: self("scontrol ping").code == 0)
        until("the node is idle", lambda: self("sinfo -h -o %t").text == "idle", 60)

    def munge(self):
        """Who a message is from, as Slurm has it told; a key for this machine alone."""
        home = self.home / "munge"
        home.mkdir(mode=0o755)
        key = home / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = [f"--{name}-file={home / name}" for name in ("key", "pid", "log", "seed")]
        line = ["munged", "--foreground", "--force", f"--socket={home / 'socket'}", *files]
        self.munged = Daemon(line, self.home / "munged.log")
        self.munged.ready("munge answers", lambda: command(["munge", "-n", "-S", home / "socket"]).code == 0)

    def __call__(self, line, **more):
        return command(line, env=self.env, **more)

    def bundle(self, change=lambda spec: None):
        """A bundle as its owner would make it: `soute spec`, and a root filesystem."""
        path = self.scratch("bundle")
        command([self.binary, "spec"], cwd=path).ok()
        # Slurm takes no other place for it.
        (path / "rootfs").mkdir()
        command(["tar", "-C", path / "rootfs", "-xf", self.home.parent / "image/layer.tar"]).ok()
        cases_slurm.prepare(path / "config.json", change)
        return path

    def srun(self, flags, line, bundle=None, **more):
        """A step of one job, in the foreground."""
        front = ["srun", f"--container={bundle or self.bundle()}", *words(flags)]
        return self([*front, *words(line)], **more)

    def sbatch(self, flags, text):
        """A job for later: its number, and the directory of its elements' output."""
        place = self.scratch("out")
        script = place / "job.sh"
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)
        line = ["sbatch", "--parsable", f"--container={self.bundle()}", f"--output={place}/%a", *words(flags), script]
        return self(line).ok().text, place

    def containers(self):
        return [path.name for path in self.root.glob("[!.]*")] if self.root.exists() else []

    def states(self):
        return [self.root]

    def clean(self):
        for job in self("squeue -h -o %A").out.split():
            self(["scancel", job])
        until("no container is left", lambda: not self.containers(), 30)

    def end(self):
        for daemon in [*self.daemons, self.munged]:
            daemon.end()
        command("ip link del net0").ok()
