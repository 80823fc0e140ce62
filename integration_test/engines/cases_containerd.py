# SPDX-License-Identifier: Apache-2.0
"""Cases of containerd's own client. Its `run` does not forward the end of its input."""

import re
from pathlib import Path

from harness import Failure, cgroup_file, check, equal, process, until

CASES = []


def case(smoke=False):
    def add(function):
        CASES.append((smoke, function))
        return function

    return add


def chosen(smoke):
    return [function for small, function in CASES if small or not smoke]


@case(smoke=True)
def run_prints(e):
    e.run("", "echo hello").ok().prints("hello")


@case(smoke=True)
def run_exit_codes(e):
    for code in (1, 7, 255):
        e.run("", f"sh -c 'exit {code}'").exits(code)


@case(smoke=True)
def run_wrong_commands(e):
    e.run("", "/no/such/program").fails().says('exec: "/no/such/program": stat .*no such file or directory')
    e.run("", "no-such-program").fails().says("executable file not found in .PATH")
    e.run("", "/etc/passwd").fails().says("permission denied")


@case(smoke=True)
def run_on_a_terminal(e):
    name = e.name()
    e.on_terminal(e.words(name, "--rm -t", "sh -c 'tty; sleep 1; stty size'"), size=(31, 97)).ok().says("/dev/pts/0").says("31 97")


@case(smoke=True)
def exec_codes_and_output(e):
    name = e.up()
    e(f"tasks exec --exec-id a {name} echo hello").ok().prints("hello")
    e(f"tasks exec --exec-id b {name} sh -c 'exit 9'").exits(9)
    e(f"tasks exec --exec-id c {name} no-such-program").fails().says("executable file not found")
    e(f"tasks exec --exec-id d --cwd /tmp --user 1000 {name} sh -c 'pwd; id -u'").ok().prints("/tmp\n1000")
    e.on_terminal(["tasks", "exec", "--exec-id", "f", "-t", name, "tty"]).ok().says("/dev/pts/")


@case(smoke=True)
def kill_and_delete(e):
    name = e.up()
    e(f"tasks kill -s SIGTERM {name}").ok()
    until("stopped", lambda: e.status(name) == "STOPPED")
    e(f"tasks kill {name}").fails().says("not found|already finished")
    e(f"tasks rm {name}").ok()
    e(f"containers rm {name}").ok()


@case(smoke=True)
def kill_all(e):
    name = e.up("--with-ns pid:/proc/1/ns/pid", "sh -c 'sleep 4323 & sleep 4324'")
    pid = e.pid(name)
    e(f"tasks kill -a -s SIGKILL {name}").ok()
    until("stopped", lambda: e.status(name) == "STOPPED")
    check(not Path(f"/proc/{pid}").exists(), "its process lives on")


@case()
def pause_and_resume(e):
    name = e.up()
    e(f"tasks pause {name}").ok()
    equal(e.status(name), "PAUSED", "status")
    e(f"tasks exec --exec-id a {name} true").fails().says("paused")
    e(f"tasks resume {name}").ok()
    equal(e.status(name), "RUNNING", "status")
    e(f"tasks exec --exec-id b {name} true").ok()


@case()
def processes(e):
    name = e.up("", "sh -c 'sleep 1000 & sleep 1000'")
    pid = e.pid(name)
    rows = until("both are there", lambda: (r := e(f"tasks ps {name}").ok().out.splitlines()[1:]) and len(r) == 2 and r)
    check(str(pid) in [row.split()[0] for row in rows], f"{pid} is not in {rows}")


@case(smoke=True)
def limits(e):
    pid = e.pid(e.up("--memory-limit 67108864 --cpus 0.5"))
    equal(cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")
    equal(cgroup_file(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0], "50000", "quota")


@case()
def metrics(e):
    name = e.up("--memory-limit 67108864")
    e(f"tasks metrics {name}").ok().says("memory")


@case(smoke=True)
def read_only_and_mounts(e):
    data = e.scratch("volume")
    (data / "in").write_text("from the host")
    e.run("--read-only", "touch /x").fails().says("read-only")
    e.run(["--mount", f"type=bind,src={data},dst=/data,options=rbind:ro"], "sh -c 'cat /data/in; touch /data/x'").fails().says("from the host").says("read-only")


@case()
def users_and_capabilities(e):
    e.run("--cap-drop CAP_CHOWN", "chown 1 /tmp").fails().says("not permitted")
    e.run("--seccomp", "grep -E ^Seccomp:.2 /proc/self/status").ok()
    e.run("", "grep -E ^NoNewPrivs:.1 /proc/self/status").ok()
    e.run("--privileged", "sh -c 'mount -t tmpfs none /tmp && echo mounted'").ok().prints("mounted")


@case()
def user_namespaces(e):
    flags = "--uidmap 0:100000:65536 --gidmap 0:100000:65536 --snapshotter native"
    out = e.run(flags, "cat /proc/self/uid_map")
    if "flag provided but not defined" in out.err:
        out = e.run("--remap-labels", "true")
    out.ok().says(r"^\s*0\s+100000\s+65536")


@case()
def a_shim_that_is_killed(e):
    """containerd then calls `delete --force` through the shim's binary."""
    name = e.up()
    pid = e.pid(name)
    shim = int(process(pid)["PPid"])
    cmdline = Path(f"/proc/{shim}/cmdline").read_bytes().decode()
    if not re.search("containerd-shim", cmdline):
        raise Failure(f"the parent is no shim: {cmdline}")
    import os
    import signal

    os.kill(shim, signal.SIGKILL)
    until("the process is gone", lambda: not Path(f"/proc/{pid}").exists())
    until("its state is gone", lambda: not Path(f"/run/containerd/runc/cases/{name}").exists())


@case()
def many_at_once(e):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        for out in pool.map(lambda i: e.run("", f"echo {i}"), range(8)):
            out.ok()
