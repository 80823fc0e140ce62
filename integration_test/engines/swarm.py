# SPDX-License-Identifier: Apache-2.0
"""A swarm of three machines: dockerds in network namespaces of their own, wired together."""

import os
import signal
from pathlib import Path

import cases_swarm
from engines import Docker, Engine
from harness import IMAGE, Failure, command, until, words

NODES = (1, 2, 3)


class Node(Docker):
    """One machine of it. What runs there is known by its network namespace."""

    def __init__(self, swarm, number):
        self.number, self.address, self.lost = number, f"10.77.0.{number}", False
        # Not with --live-restore, which dockerd refuses in a swarm.
        self.daemon_flags = ["--cgroup-parent", f"/node{number}"]
        home = swarm.home / f"node{number}"
        home.mkdir()
        super().__init__(home, swarm.runtime, swarm.binary, swarm.args)

    def prefix(self):
        # `ip netns exec` would hide the cgroups below a new sysfs.
        enter = ["nsenter", f"--net=/run/netns/node{self.number}", "unshare", "--uts"]
        return [*enter, "sh", "-c", 'hostname "$0" && exec "$@"', f"node{self.number}"]

    def wire(self):
        name, veth = f"node{self.number}", f"wire{self.number}"
        for line in (
            f"ip netns add {name}",
            f"ip link add {veth} type veth peer name eth0 netns {name}",
            f"ip link set {veth} master switch up",
            f"ip -n {name} addr add {self.address}/24 dev eth0",
            f"ip -n {name} link set eth0 up",
            f"ip -n {name} link set lo up",
        ):
            command(line).ok()

    def unwire(self):
        command(f"ip link del wire{self.number}").ok()
        command(f"ip netns del node{self.number}").ok()

    def processes(self):
        ours = os.stat(f"/run/netns/node{self.number}").st_ino
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.stat(entry / "ns/net").st_ino == ours:
                    yield int(entry.name)
            except OSError:
                pass

    def fail(self):
        """The machine is gone at once, with all that ran on it."""
        self.lost = True
        command(f"ip -n node{self.number} link set eth0 down").ok()
        while pids := list(self.processes()):
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.daemon.child.poll()

    def containers(self):
        """Those that the runtime knows there."""
        return [path.name for state in self.states() for path in state.iterdir() if not path.name.startswith(".")]


class Swarm(Engine):
    kind = "swarm"
    # What a lost machine held is not asked for.
    CGROUPS = r"/(docker|docker/buildkit|docker-runtime|tests|node[12]|node3(/.*)?)$"
    MOUNTS = r"/node[12]/(data(/[0-9.]+)?|exec/netns/default)$|/node3/"

    @staticmethod
    def cases(smoke):
        return [] if smoke else cases_swarm.CASES

    def start(self):
        if command("ip link add switch type bridge").code:
            raise Failure("this kernel has no bridges: the machines of a swarm cannot be wired together")
        command("ip link set switch up").ok()
        self.nodes = []
        for number in NODES:
            node = Node(self, number)
            self.nodes.append(node)
            node.wire()
            node.start()
        self.lead = self.nodes[0]
        self.lead(["swarm", "init", "--advertise-addr", self.lead.address]).ok()
        token = self.lead("swarm join-token -q worker").ok().text
        for node in self.nodes[1:]:
            node(["swarm", "join", "--token", token, "--advertise-addr", node.address, f"{self.lead.address}:2377"]).ok()
        until("all nodes are ready", lambda: self("node ls").out.count(" Ready ") == len(NODES))

    def __call__(self, line, **more):
        return self.lead(line, **more)

    def service(self, flags, line="sh -c 'trap \"exit 0\" TERM; echo ready; while :; do sleep 0.1; done'"):
        """A service on the machines' own networks; it is there when this returns."""
        name = self.name()
        front = ["service", "create", "--detach=false", "--no-resolve-image", "--network", "host", "--name", name]
        self([*front, *words(flags), IMAGE, *words(line)], seconds=90).ok()
        return name

    def tasks(self, name):
        """Where its tasks run: the nodes' names."""
        form = "{{.Node}} {{.CurrentState}}"
        rows = self(["service", "ps", "-f", "desired-state=running", "--format", form, name]).ok().out.splitlines()
        return sorted(row.split()[0] for row in rows if row.split()[1] == "Running")

    def containers(self):
        return sum(len(node.containers()) for node in self.nodes if not node.lost)

    def clean(self):
        if names := self("service ls -q").out.split():
            self(["service", "rm", *names])
        until("their containers are gone", lambda: self.containers() == 0, 60)

    def states(self):
        return [state for node in self.nodes if not node.lost for state in node.states()]

    def end(self):
        for node in self.nodes:
            if not node.lost:
                node.end()
            node.unwire()
        command("ip link del switch").ok()
        command("umount /run/netns").ok()
