# SPDX-License-Identifier: Apache-2.0
"""The engines: how each is started with a runtime, and how it is asked for containers."""

import json
import os
import shutil
import socket
from pathlib import Path

import cases_buildah
import cases_containerd
import cases_cri
import cases_docker
import image
from harness import IMAGE, Daemon, Failure, command, on_terminal, until, words
from pods import Pod

# No hard limit can be raised where CAP_SYS_RESOURCE is missing.
ULIMITS = ["nofile=1024:1024", "nproc=4096:4096"]


class Engine:
    """One engine with one runtime."""

    # The groups that are the engine's own, not a container's.
    CGROUPS = r"/tests$"
    # Mounts that the engine keeps for itself when it ends.
    MOUNTS = r"^$"
    kind = ""

    def __init__(self, home, runtime, binary, args):
        self.home, self.runtime, self.binary, self.image = home, runtime, binary, args.image
        self.args, self.count = args, 0

    def name(self):
        self.count += 1
        return f"case{self.count}"

    def scratch(self, name="dir"):
        path = self.home / f"{name}.{self.name()}"
        path.mkdir()
        path.chmod(0o777)
        return path

    def start(self):
        pass

    def end(self):
        pass

    def clean(self):
        """After each case: no container of it is left."""

    def states(self):
        """The directories where the runtime keeps containers."""
        return []

    @property
    def is_soute(self):
        return self.runtime == "soute"


class Cli(Engine):
    """Engines with docker's command line."""

    def front(self):
        raise NotImplementedError

    env = None

    def __call__(self, line, **more):
        return command(self.front() + words(line), env=self.env, **more)

    def on_terminal(self, line, **more):
        return on_terminal(self.front() + words(line), env=self.env, **more)

    # Flags of every container.
    always = []

    def run(self, flags, line, **more):
        """`run --rm`, in the foreground."""
        return self(["run", "--rm", *self.always, *words(flags), IMAGE, *words(line)], **more)

    def up(self, flags="", line="sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'"):
        """A container in the background, and its name."""
        name = self.name()
        self(["run", "-d", "--name", name, *self.always, *words(flags), IMAGE, *words(line)]).ok()
        return name

    def inspect(self, name, what):
        return self(["inspect", "-f", "{{" + what + "}}", name]).ok().text

    def pid(self, name):
        return int(self.inspect(name, ".State.Pid"))

    def clean(self):
        if ids := self("ps -aq").out.split():
            self(["rm", "-f", *ids])


class Docker(Cli):
    kind = "docker"
    CGROUPS = r"/(docker|docker/buildkit|docker-runtime|tests)$"
    MOUNTS = r"/(data(/[0-9.]+)?|exec/netns/default)$"
    always = ["--network", "none"]
    daemon_flags = ["--live-restore"]

    @staticmethod
    def cases(smoke):
        return cases_docker.chosen("docker", smoke)

    def prefix(self):
        return []

    def start(self):
        bin_dir = self.home / "bin"
        bin_dir.mkdir()
        # buildkit runs the `runc` that it finds.
        (bin_dir / "runc").symlink_to(self.binary)
        self.path = f"{bin_dir}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self.socket = self.home / "docker.sock"
        self.begin()
        self(["load", "-i", self.image]).ok()

    def begin(self):
        """dockerd, also for the second time."""
        line = [
            *self.prefix(), "dockerd", "-H", f"unix://{self.socket}", "--data-root", self.home / "data",
            "--exec-root", self.home / "exec", "--pidfile", self.home / "docker.pid",
            "--iptables=false", "--ip6tables=false", "--bridge=none", "--userland-proxy=false",
            "--add-runtime", f"{self.binary.name}={self.binary}" if self.is_soute else f"control={self.binary}",
            "--default-runtime", self.binary.name if self.is_soute else "control",
            *self.daemon_flags,
        ]  # fmt: skip
        env = dict(os.environ, PATH=self.path, DOCKER_TMPDIR=str(self.scratch("tmp")))
        self.daemon = Daemon(line, self.home / "dockerd.log", env)
        self.daemon.ready("dockerd answers", lambda: self("version").code == 0)

    def front(self):
        return ["docker", "-H", f"unix://{self.socket}"]

    def end(self):
        self.daemon.end()
        until("docker's containerd ends", lambda: not (self.home / "exec/containerd/containerd.pid").exists())

    def build_kits(self):
        """The flags and the environment of each way to build."""
        yield [], dict(os.environ, DOCKER_BUILDKIT="0")
        # From 23 on it is a program of its own, that may not be installed.
        if self("buildx version").code == 0 or self("version -f {{.Client.Version}}").text.startswith("20."):
            yield [], dict(os.environ, DOCKER_BUILDKIT="1")

    def states(self):
        return self.home.glob("exec/runtime-*/moby")


class DockerUserns(Docker):
    """Every container in a user namespace."""

    @staticmethod
    def cases(smoke):
        return cases_docker.chosen("docker-userns", smoke)

    def start(self):
        for path in ("/etc/subuid", "/etc/subgid", "/etc/passwd", "/etc/group"):
            if not Path(self.home / Path(path).name).exists():
                shutil.copy(path, self.home)
                file = self.home / Path(path).name
                with file.open("a") as text:
                    text.write({
                        "subuid": "remapped:100000:65536\n", "subgid": "remapped:100000:65536\n",
                        "passwd": "remapped:x:64999:64999::/:/bin/false\n", "group": "remapped:x:64999:\n",
                    }[file.name])  # fmt: skip
                command(["mount", "--bind", file, path]).ok()
        self.daemon_flags = ["--live-restore", "--userns-remap=remapped"]
        super().start()

    def end(self):
        super().end()
        for path in ("/etc/subuid", "/etc/subgid", "/etc/passwd", "/etc/group"):
            command(["umount", path])

    def states(self):
        return self.home.glob("exec/*/runtime-*/moby")


CONTAINERS_CONF = """\
[containers]
default_ulimits = {ulimits}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{name}"
runtime_supports_json = ["soute", "crun", "runc"]
runtime_supports_nocgroup = ["soute", "crun"]
runtime_supports_nocgroups = ["soute", "crun"]
[engine.runtimes]
{name} = ["{binary}"]
"""
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def configure_containers(engine):
    """/etc/containers, which podman and buildah read."""
    etc = Path("/etc/containers")
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "policy.json").write_text(POLICY)
    (etc / "registries.conf").write_text('unqualified-search-registries = ["localhost"]\n')
    conf = CONTAINERS_CONF.format(ulimits=json.dumps(ULIMITS), name=engine.runtime, binary=engine.binary)
    (etc / "containers.conf").write_text(conf)


class Podman(Cli):
    kind = "podman"
    CGROUPS = r"/(libpod_parent|conmon|tests)(/conmon)?$|/libpod_parent/[^/]*pod"
    always = ["--network", "none"]

    @staticmethod
    def cases(smoke):
        return cases_docker.chosen("podman", smoke)

    def start(self):
        configure_containers(self)
        self.env = dict(os.environ, PODMAN_IGNORE_CGROUPSV1_WARNING="1", TMPDIR=str(self.scratch("tmp")))
        self(["load", "-i", self.image]).ok()

    # Where it keeps what does not outlive the machine; podman allows 50 characters.
    @property
    def run_dir(self):
        return self.home / "run"

    @property
    def libpod_dir(self):
        return self.home / "libpod"

    def front(self):
        return [
            "podman", "--root", self.home / "graph", "--runroot", self.run_dir, "--tmpdir", self.libpod_dir,
        ]  # fmt: skip

    def clean(self):
        self("pod rm -fa")
        self("rm -fa -t 0")

    def build_kits(self):
        yield ["--isolation", "oci"], self.env

    def states(self):
        return [f"/run/{self.runtime}"]

    def end(self):
        self("system reset -f")
        for path in (self.home / "graph/overlay", self.home / "graph"):
            command(["umount", path])


class PodmanUser(Podman):
    """podman as an ordinary user."""

    kind = "podman-user"
    UID = 64998

    @staticmethod
    def cases(smoke):
        return cases_docker.chosen("podman-user", smoke)

    def start(self):
        for path, line in {
            "passwd": f"ordinary:x:{self.UID}:{self.UID}::{self.home}/home:/bin/sh\n",
            "group": f"ordinary:x:{self.UID}:\n",
            "subuid": "ordinary:200000:65536\n",
            "subgid": "ordinary:200000:65536\n",
        }.items():
            file = self.home / path
            shutil.copy(f"/etc/{path}", file)
            with file.open("a") as text:
                text.write(line)
            command(["mount", "--bind", file, f"/etc/{path}"]).ok()
        for path in (self.run_dir, self.home / "home", self.home / "graph"):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, self.UID, self.UID)
        super().start()

    @property
    def run_dir(self):
        return Path(f"/run/user/{self.UID}")

    @property
    def libpod_dir(self):
        return self.run_dir / "libpod"

    def front(self):
        keep = ["HOME", f"HOME={self.home}/home", f"XDG_RUNTIME_DIR={self.run_dir}", "USER=ordinary"]
        user = ["setpriv", "--reuid", self.UID, "--regid", self.UID, "--init-groups"]
        return ["env", "-C", self.home, "-u", *keep, *user, *super().front()]

    def states(self):
        return [self.run_dir / self.runtime]

    def end(self):
        super().end()
        for pid_file in [*self.run_dir.glob("**/pause.pid"), *self.home.glob("**/pause.pid")]:
            command(["kill", pid_file.read_text().strip()])
        shutil.rmtree(self.run_dir, ignore_errors=True)
        for path in ("passwd", "group", "subuid", "subgid"):
            command(["umount", f"/etc/{path}"])


class Buildah(Cli):
    kind = "buildah"
    CGROUPS = r"/(buildah|tests)$"

    @staticmethod
    def cases(smoke):
        return [] if smoke else cases_buildah.CASES

    def start(self):
        configure_containers(self)
        self.env = dict(os.environ, TMPDIR=str(self.scratch("tmp")))
        self.always = ["--isolation", "oci", "--network", "none", "--runtime", self.binary]
        self(["pull", f"docker-archive:{self.image}"]).ok()

    def front(self):
        return ["buildah", "--root", self.home / "graph", "--runroot", self.home / "run"]

    def working(self, image=IMAGE):
        """A working container."""
        name = self.name()
        self(["from", "--name", name, "--pull-never", image]).ok()
        return name

    def words(self, flags, name):
        isolation = ["--isolation", "oci", "--runtime", self.binary]
        return ["run", *isolation, *words(flags), name, "--"]

    def run(self, flags, line, name=None):
        return self([*self.words(flags, name or self.working()), *words(line)])

    def clean(self):
        self("rm -a")

    def end(self):
        for path in (self.home / "graph/overlay", self.home / "graph"):
            command(["umount", path])


CONTAINERD_TOML = """\
version = 2
root = "{home}/root"
state = "{home}/state"
[grpc]
address = "{home}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
disable_apparmor = true
restrict_oom_score_adj = true
sandbox_image = "{pause}"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "tested"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
BinaryName = "{binary}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{home}/cni"
conf_dir = "{home}/cni"
[plugins."io.containerd.internal.v1.opt"]
path = "{home}/opt"
"""


class Containerd(Engine):
    """containerd by its own client."""

    kind = "containerd"
    CGROUPS = r"/(tests|cases)$"

    @staticmethod
    def cases(smoke):
        return cases_containerd.chosen(smoke)

    namespace = "cases"

    def start(self):
        self.socket = self.home / "containerd.sock"
        config = CONTAINERD_TOML.format(home=self.home, binary=self.binary, pause=image.PAUSE)
        (self.home / "config.toml").write_text(config)
        self.begin()
        self(["images", "import", self.image]).ok()

    def begin(self):
        self.daemon = Daemon(["containerd", "-c", self.home / "config.toml"], self.home / "containerd.log")
        self.daemon.ready("containerd answers", self.answers)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as to:
            return to.connect_ex(str(self.socket)) == 0 and self("version").code == 0

    def __call__(self, line, **more):
        return command(["ctr", "-a", self.socket, "-n", self.namespace, *words(line)], **more)

    def on_terminal(self, line, **more):
        return on_terminal(["ctr", "-a", self.socket, "-n", self.namespace, *words(line)], **more)

    def words(self, name, flags, line):
        runtime = ["--runtime", "io.containerd.runc.v2", "--runc-binary", self.binary]
        return ["run", *runtime, *words(flags), IMAGE, name, *words(line)]

    def run(self, flags, line, **more):
        return self(self.words(self.name(), ["--rm", *words(flags)], line), **more)

    def up(self, flags="", line="sh -c 'trap \"exit 0\" TERM; while :; do sleep 0.1; done'"):
        name = self.name()
        self(self.words(name, ["-d", *words(flags)], line)).ok()
        return name

    def pid(self, name):
        for row in self("tasks ls").ok().out.splitlines():
            if row.split()[0] == name:
                return int(row.split()[1])
        raise Failure(f"no task {name}")

    def status(self, name):
        rows = [row.split() for row in self("tasks ls").ok().out.splitlines()]
        return next((row[2] for row in rows if row[0] == name), "gone")

    def clean(self):
        for name in self("tasks ls -q").out.split():
            self(["tasks", "rm", "-f", name])
        for name in self("containers ls -q").out.split():
            self(["containers", "rm", name])

    def states(self):
        return [f"/run/containerd/runc/{self.namespace}"]

    def end(self):
        self.daemon.end()


# A plug-in for the network that gives a fixed address and changes nothing.
CNI_PLUGIN = """\
#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && exec echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}'
[ "$CNI_COMMAND" = ADD ] || exit 0
cat <<END
{"cniVersion":"0.4.0","interfaces":[{"name":"$CNI_IFNAME","sandbox":"$CNI_NETNS"}],
 "ips":[{"version":"4","interface":0,"address":"127.9.9.9/8"}]}
END
"""
CNI_LIST = '{"cniVersion": "0.4.0", "name": "fixed", "plugins": [{"type": "fixed"}]}'


class Cri(Containerd):
    """containerd through Kubernetes' interface, as kubelet calls it."""

    kind = "cri"
    CGROUPS = r"/(tests|k8s\.io|pods)$"
    namespace = "k8s.io"

    @staticmethod
    def cases(smoke):
        return [] if smoke else cases_cri.CASES

    def start(self):
        cni = self.home / "cni"
        cni.mkdir()
        for name in ("fixed", "loopback"):
            (cni / name).write_text(CNI_PLUGIN)
            (cni / name).chmod(0o755)
        (cni / "10-fixed.conflist").write_text(CNI_LIST)
        super().start()
        self(["images", "import", image.archive(self.home / "pause", image.PAUSE, ["sleep", "100000"])]).ok()

    def begin(self):
        super().begin()
        # Needed for this engine only.
        import cri

        self.cri = cri.Client(self.socket, self.home.parent)
        self.daemon.ready("the interface answers", self.ready)

    def ready(self):
        try:
            return all(c.status for c in self.cri.Status(seconds=2).status.conditions)
        except Failure:
            return False

    def restart(self):
        self.cri.close()
        self.daemon.kill()
        self.begin()

    def pod(self, **more):
        return Pod(self, **more)

    def clean(self):
        for pod in self.cri.ListPodSandbox().items:
            self.cri.StopPodSandbox(pod_sandbox_id=pod.id)
            self.cri.RemovePodSandbox(pod_sandbox_id=pod.id)

    def end(self):
        self.cri.close()
        super().end()
