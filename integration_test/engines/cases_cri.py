# SPDX-License-Identifier: Apache-2.0
"""Cases of Kubernetes' container runtime interface: what kubelet asks of a node, in its order."""

import json
import os
import time
from pathlib import Path

from harness import cgroup_file, check, equal, process, until

CASES = []
TRAP = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


def case(function):
    CASES.append(function)
    return function


@case
def the_node_is_ready(e):
    conditions = {c.type: c.status for c in e.cri.Status().status.conditions}
    check(conditions.get("RuntimeReady"), f"conditions: {conditions}")


@case
def a_pod_with_a_container(e):
    # With the node's network comes the node's host name.
    pod = e.pod(hostname="deck", network="POD")
    status = e.cri.PodSandboxStatus(pod_sandbox_id=pod.id).status
    equal((status.state, status.runtime_handler), (0, "tested"), "state and handler of the pod")
    made = pod.container("hostname; echo err >&2; exit 7")
    ended = made.ended()
    equal((ended.exit_code, ended.reason), (7, "Error"), "exit code and reason")
    lines = [line.split(" ", 3)[1:] for line in made.log().splitlines()]
    check(["stdout", "F", "deck"] in lines and ["stderr", "F", "err"] in lines, f"log: {lines}")
    equal(pod.container("true").ended().reason, "Completed", "reason")


@case
def a_pod_with_an_address(e):
    pod = e.pod(network="POD")
    equal(e.cri.PodSandboxStatus(pod_sandbox_id=pod.id).status.network.ip, "127.9.9.9", "address")
    theirs = pod.up().output("readlink", "/proc/self/ns/net")
    check(theirs != os.readlink("/proc/self/ns/net"), "the node's network namespace")
    equal(pod.up().output("readlink", "/proc/self/ns/net"), theirs, "network namespace of the second container")


@case
def configuration(e):
    data = e.scratch("volume")
    (data / "in").write_text("from the host\n")
    pod = e.pod()
    envs, mounts = [{"key": "A", "value": "b"}], [
        {"container_path": "/data", "host_path": str(data), "readonly": True},
        {"container_path": "/more", "host_path": str(data), "propagation": "PROPAGATION_HOST_TO_CONTAINER"},
    ]  # fmt: skip
    script = "echo $A $PWD; cat /data/in; touch /data/x || touch /more/y; grep -c ' /more .* master:' /proc/self/mountinfo"
    made = pod.container(script, working_dir="/tmp", envs=envs, mounts=mounts)
    equal(made.ended().exit_code, 0, made.log())
    equal(made.out(), ["b /tmp", "from the host", "1"], "output")
    check((data / "y").exists() and not (data / "x").exists(), "the read-only volume was written to, or the other not")


@case
def security_contexts(e):
    pod = e.pod()
    user = {"run_as_user": {"value": 1000}, "run_as_group": {"value": 2000}, "supplemental_groups": [3000]}
    made = pod.container("id -u; id -g; id -G", security=user)
    made.ended()
    equal(made.out()[:2], ["1000", "2000"], "ids")
    check("3000" in made.out()[2].split(), f"groups: {made.out()}")
    shown = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status"
    tight = {
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"]},
        "no_new_privs": True, "readonly_rootfs": True, "seccomp": {"profile_type": "RuntimeDefault"},
        "masked_paths": ["/proc/keys"], "readonly_paths": ["/proc/sys"],
    }  # fmt: skip
    made = pod.container(f"{shown}; touch /x; wc -c </proc/keys; echo x >/proc/sys/kernel/hostname; true", security=tight)
    made.ended()
    equal([line.split()[-1] for line in made.out()], ["0000000000000001", "1", "2", "0"], made.log())
    check(made.log().count("ead-only file system") == 2, made.log())


@case
def a_privileged_pod(e):
    pod = e.pod(privileged=True)
    made = pod.container("mount -t tmpfs none /tmp && echo mounted", security={"privileged": True})
    made.ended()
    equal(made.out(), ["mounted"], made.log())


@case
def wrong_commands(e):
    pod = e.pod()
    made = pod.container(command=["/no/such/program"], start=False)
    e.cri.StartContainer(container_id=made.id, fails=True).says('exec: "/no/such/program": stat .*no such file')
    status = made.status()
    equal((status.state, status.exit_code, status.reason), (2, 128, "StartError"), "state, exit code, reason")
    made = pod.container(command=["no-such-program"], start=False)
    e.cri.StartContainer(container_id=made.id, fails=True).says("executable file not found in .PATH")


@case
def exec_and_probes(e):
    made = e.pod().up()
    answer = made.exec("sh", "-c", "echo out; echo err >&2; exit 3")
    equal((answer.stdout, answer.stderr, answer.exit_code), (b"out\n", b"err\n", 3), "answer")
    for _ in range(10):
        equal(made.exec("test", "-e", "/bin/sh").exit_code, 0, "probe")
    e.cri.ExecSync(container_id=made.id, cmd=["no-such-program"], fails=True).says("executable file not found")
    # A probe that hangs is ended after its time.
    began = time.monotonic()
    e.cri.ExecSync(container_id=made.id, cmd=["sleep", "3600"], timeout=1, fails=True).says("timeout|deadline")
    check(time.monotonic() - began < 20, "the time-out of the probe is not kept")
    until("the probe's process is gone", lambda: "sleep 3600" not in made.output("ps"))


@case
def resources_change_in_place(e):
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_period": 100_000, "cpu_quota": 50_000, "cpu_shares": 512}
    made = e.pod().up(resources=resources)
    equal(cgroup_file(made.pid(), "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")
    equal(cgroup_file(made.pid(), "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0], "50000", "quota")
    e.cri.UpdateContainerResources(container_id=made.id, linux={"memory_limit_in_bytes": 96 << 20, "cpu_quota": 25_000})
    equal(cgroup_file(made.pid(), "memory", "memory.limit_in_bytes", "memory.max"), str(96 << 20), "memory")
    equal(cgroup_file(made.pid(), "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0], "25000", "quota")


@case
def statistics(e):
    made = e.pod().up()
    stats = lambda: e.cri.ContainerStats(container_id=made.id).stats
    until("it used some memory", lambda: stats().memory.working_set_bytes.value)
    until("it used some time", lambda: stats().cpu.usage_core_nano_seconds.value)


@case
def out_of_memory(e):
    made = e.pod().container("x=a; while :; do x=$x$x; done", resources={"memory_limit_in_bytes": 16 << 20})
    ended = made.ended()
    equal((ended.exit_code, ended.reason), (137, "OOMKilled"), "exit code and reason")


@case
def termination(e):
    pod = e.pod()
    made = pod.up(TRAP)
    began = time.monotonic()
    e.cri.StopContainer(container_id=made.id, timeout=20)
    check(time.monotonic() - began < 15, "stop waited for nothing")
    equal(made.status().exit_code, 5, "exit code of one that obeys")
    made = pod.up(STUBBORN)
    e.cri.StopContainer(container_id=made.id, timeout=1)
    equal(made.status().exit_code, 137, "exit code of one that does not")
    made = pod.up(STUBBORN)
    e.cri.StopContainer(container_id=made.id, timeout=0)
    equal(made.status().exit_code, 137, "exit code without any time")


@case
def namespaces_of_a_pod(e):
    pod = e.pod(pid="POD")
    one, two = pod.up(), pod.up()
    for kind in ("pid", "ipc", "net", "uts"):
        equal(one.output("readlink", f"/proc/self/ns/{kind}"), two.output("readlink", f"/proc/self/ns/{kind}"), kind)
    check(one.output("readlink", "/proc/self/ns/mnt") != two.output("readlink", "/proc/self/ns/mnt"), "one mount namespace")
    check("sleep 100000" in one.output("ps"), "the pod's own process is not to be seen")
    e.cri.StopContainer(container_id=one.id, timeout=0)
    check(not Path(f"/proc/{one.pid()}").exists() if one.pid() else True, "its process lives on")
    equal(two.exec("true").exit_code, 0, "the other one goes on")


@case
def own_pid_namespaces(e):
    pod = e.pod()
    one = pod.up()
    equal(one.output("sh", "-c", "tr '\\0' ' ' </proc/1/cmdline").split()[0], "sh", "pid 1")
    debug = pod.up(security={"namespace_options": {"pid": "TARGET", "target_id": one.id, "network": "NODE"}})
    equal(debug.output("readlink", "/proc/self/ns/pid"), one.output("readlink", "/proc/self/ns/pid"), "pid namespace")


@case
def namespaces_of_the_node(e):
    pod = e.pod(pid="NODE", ipc="NODE")
    made = pod.up()
    for kind in ("pid", "ipc", "net"):
        equal(made.output("readlink", f"/proc/self/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}"), kind)
    pid = made.pid()
    e.cri.StopContainer(container_id=made.id, timeout=0)
    check(not Path(f"/proc/{pid}").exists(), "its process lives on")


@case
def sysctls_of_a_pod(e):
    made = e.pod(network="POD", sysctls={"net.ipv4.ip_unprivileged_port_start": "77"}).up()
    equal(made.output("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "77", "sysctl")


@case
def a_pod_that_is_removed_while_it_runs(e):
    pod = e.pod()
    pids = [pod.up().pid() for _ in range(2)]
    pod.remove()
    check(not any(Path(f"/proc/{pid}").exists() for pid in pids), "processes live on")
    check(pod.id not in [p.id for p in e.cri.ListPodSandbox().items], "the pod is still listed")


@case
def containerd_begins_anew(e):
    made = e.pod().up()
    pid = made.pid()
    e.restart()
    equal((made.pid(), made.status().state), (pid, 1), "pid and state")
    equal(made.exec("true").exit_code, 0, "exec")
    e.cri.StopContainer(container_id=made.id, timeout=0)
    equal(made.status().exit_code, 137, "exit code")


@case
def a_shim_that_is_killed(e):
    pod = e.pod()
    made = pod.up()
    pid = made.pid()
    os.kill(int(process(pid)["PPid"]), 9)
    until("the process is gone", lambda: not Path(f"/proc/{pid}").exists())
    until("kubelet is told", lambda: made.status().state == 2)
    pod.remove()


@case
def many_at_once(e):
    from concurrent.futures import ThreadPoolExecutor

    def one(i):
        pod = e.pod()
        made = pod.container(f"echo {i}")
        equal((made.ended().exit_code, made.out()), (0, [str(i)]), "exit code and output")
        pod.remove()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(8)))
