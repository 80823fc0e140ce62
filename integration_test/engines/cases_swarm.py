# SPDX-License-Identifier: Apache-2.0
"""Cases of a swarm. Each gets the swarm `e`; the last one loses a machine."""

import json

from harness import check, cgroup_file, equal, until

CASES = []


def case(function):
    CASES.append(function)
    return function


def task_on(e, node):
    """The container of a task on a node, and its pid."""
    name = until("a container", lambda: node("ps -q").ok().out.split())[0]
    return name, int(node.inspect(name, ".State.Pid"))


@case
def a_service_on_all_machines(e):
    name = e.service("--replicas 6")
    until("six tasks", lambda: len(e.tasks(name)) == 6)
    equal(sorted(set(e.tasks(name))), ["node1", "node2", "node3"], "machines")
    until("two are known to each runtime", lambda: [len(node.containers()) for node in e.nodes] == [2, 2, 2])


@case
def a_global_service(e):
    name = e.service("--mode global")
    until("one a machine", lambda: e.tasks(name) == ["node1", "node2", "node3"])


@case
def scaling(e):
    name = e.service("--replicas 1")
    e(f"service scale --detach=false {name}=5", seconds=90).ok()
    until("five tasks", lambda: len(e.tasks(name)) == 5)
    e(f"service scale --detach=false {name}=2", seconds=90).ok()
    until("two tasks", lambda: len(e.tasks(name)) == 2 and e.containers() == 2, 60)


@case
def a_rolling_update_and_back(e):
    name = e.service("--replicas 3 --stop-grace-period 5s --env A=one")
    flags = "--detach=false --update-parallelism 1 --update-delay 0s"
    seen = lambda: {node(["exec", box, "sh", "-c", "echo $A"]).text for node in e.nodes for box in node("ps -q").out.split()}
    equal(seen(), {"one"}, "before")
    e(f"service update {flags} --env-add A=two {name}", seconds=120).ok()
    until("all are new", lambda: seen() == {"two"} and len(e.tasks(name)) == 3, 60)
    e(f"service rollback --detach=false {name}", seconds=120).ok()
    until("all are as before", lambda: seen() == {"one"} and len(e.tasks(name)) == 3, 60)


@case
def limits(e):
    e.service("--mode global --limit-memory 64m --limit-cpu 0.5 --limit-pids 50")
    for node in e.nodes:
        pid = task_on(e, node)[1]
        equal(cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")
        equal(cgroup_file(pid, "pids", "pids.max", "pids.max"), "50", "pids")
        equal(cgroup_file(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0], "50000", "quota")


@case
def secrets_and_confinement(e):
    e(["secret", "create", "word", "-"], stdin="hush").ok()
    e.service("--replicas 1 --secret word --read-only --user 1000 --cap-drop ALL --mount type=tmpfs,target=/scratch --constraint node.hostname==node2")
    box = task_on(e, e.nodes[1])[0]
    e.nodes[1](["exec", box, "cat", "/run/secrets/word"]).ok().prints("hush")
    e.nodes[1](["exec", box, "touch", "/x"]).fails().says("read-only")
    e.nodes[1](["exec", box, "grep", "-E", "^CapEff:.0000000000000000", "/proc/self/status"]).ok()
    e.nodes[1](["exec", box, "grep", " /scratch ", "/proc/mounts"]).ok().says("tmpfs")
    e("service ls -q").ok()


@case
def a_task_that_ends_is_made_anew(e):
    name = e.service("--replicas 1 --restart-delay 0s --constraint node.hostname==node3")
    first, pid = task_on(e, e.nodes[2])
    e.nodes[2](["kill", first]).ok()
    until("another one", lambda: e.nodes[2]("ps -q").out.split() not in ([], [first]), 60)
    rows = json.loads(e(["service", "inspect", name]).ok().out)
    equal(rows[0]["Spec"]["Name"], name, "name")


@case
def a_machine_is_drained(e):
    name = e.service("--replicas 3")
    e("node update --availability drain node2").ok()
    until("its tasks are elsewhere", lambda: len(e.tasks(name)) == 3 and "node2" not in e.tasks(name), 60)
    until("nothing is left there", lambda: e.nodes[1].containers() == [], 60)
    e("node update --availability active node2").ok()


@case
def a_machine_is_lost(e):
    name = e.service("--replicas 6")
    check("node3" in e.tasks(name), "no task on the machine to be lost")
    e.nodes[2].fail()
    until("its tasks are elsewhere", lambda: len(e.tasks(name)) == 6 and "node3" not in e.tasks(name), 90)
    until("the runtime has them", lambda: e.containers() == 6, 30)
    until("the swarm knows", lambda: " Down " in e("node ls").out)
