# SPDX-License-Identifier: Apache-2.0
"""Pods and their containers, as kubelet makes them."""

import json

from harness import IMAGE, equal, until


class Pod:
    """A pod, whose own process the runtime under test runs as well."""

    def __init__(self, engine, hostname="", network="NODE", pid="CONTAINER", ipc="POD", privileged=False, sysctls=None, handler="tested"):
        self.engine, self.logs = engine, engine.scratch("logs")
        self.namespaces = {"network": network, "pid": pid, "ipc": ipc}
        self.config = {
            "metadata": {"name": engine.name(), "uid": "u", "namespace": "cases"},
            "hostname": hostname or ("pod" if network == "POD" else ""),
            "log_directory": str(self.logs),
            "linux": {
                "cgroup_parent": "/pods",
                "security_context": {"namespace_options": self.namespaces, "privileged": privileged},
                "sysctls": sysctls or {},
            },
        }
        self.id = engine.cri.RunPodSandbox(config=self.config, runtime_handler=handler).pod_sandbox_id

    def container(self, script="", **more):
        return Container(self, script, **more)

    def up(self, script="trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done", **more):
        """A container that runs until it is told to end, and has come to its loop."""
        made = self.container(script, **more)
        until("ready", lambda: made.out())
        return made

    def remove(self):
        self.engine.cri.StopPodSandbox(pod_sandbox_id=self.id)
        self.engine.cri.RemovePodSandbox(pod_sandbox_id=self.id)


class Container:
    def __init__(self, pod, script, command=None, security=None, resources=None, start=True, **more):
        self.engine, name = pod.engine, pod.engine.name()
        self.path = pod.logs / name
        security = {"namespace_options": pod.namespaces, **(security or {})}
        config = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": command or ["sh", "-c", script],
            "log_path": name,
            "linux": {"security_context": security, "resources": resources or {}},
            **more,
        }
        request = {"pod_sandbox_id": pod.id, "config": config, "sandbox_config": pod.config}
        self.id = self.engine.cri.CreateContainer(**request).container_id
        if start:
            self.engine.cri.StartContainer(container_id=self.id)

    def status(self):
        return self.engine.cri.ContainerStatus(container_id=self.id).status

    def ended(self):
        until("the container ends", lambda: self.status().state == 2, 30)
        return self.status()

    def log(self):
        return self.path.read_text() if self.path.exists() else ""

    def out(self):
        """The lines of its standard output."""
        rows = [line.split(" ", 3) for line in self.log().splitlines()]
        return [row[3] for row in rows if row[1] == "stdout"]

    def pid(self):
        answer = self.engine.cri.ContainerStatus(container_id=self.id, verbose=True)
        return json.loads(answer.info["info"])["pid"]

    def exec(self, *line):
        return self.engine.cri.ExecSync(container_id=self.id, cmd=line)

    def output(self, *line):
        """What a command that works prints."""
        answer = self.exec(*line)
        equal(answer.exit_code, 0, f"{line}: {answer.stderr}")
        return answer.stdout.decode().strip()
