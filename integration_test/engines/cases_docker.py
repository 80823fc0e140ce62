# SPDX-License-Identifier: Apache-2.0
"""Cases of docker's command line, which podman shares. Each gets the engine `e`.

`@case()` is for all, `@case("podman")` for these; smoke=True puts it among the few that
every test run does.
"""

import json
import os
import time
from pathlib import Path

from harness import IMAGE, cgroup_file, cgroup_v1, check, command, equal, process, skip, until

ALL = ("docker", "docker-userns", "podman", "podman-user")
ROOT = ("docker", "docker-userns", "podman")
CASES = []


def case(*engines, smoke=False):
    def add(function):
        CASES.append((engines or ALL, smoke, function))
        return function

    return add


def chosen(engine, smoke):
    return [function for engines, small, function in CASES if engine in engines and (small or not smoke)]


# ---- running ------------------------------------------------------------------------


@case(smoke=True)
def run_prints(e):
    e.run("", "echo hello").ok().prints("hello")


@case(smoke=True)
def run_exit_codes(e):
    for code in (1, 7, 126, 255):
        e.run("", f"sh -c 'exit {code}'").exits(code)
    e.run("--init", "sh -c 'kill -9 $$'").exits(137)


@case(smoke=True)
def run_wrong_commands(e):
    e.run("", "/no/such/program").exits(127).says("no such file or directory")
    e.run("", "no-such-program").exits(127).says("executable file .*not found in .PATH")
    e.run("", "/etc").exits(126).says("permission denied|is a directory")
    e.run("", "/etc/passwd").exits(126).says("permission denied")
    e.run("--no-such-flag", "true").exits(125)


@case(smoke=True)
def run_on_a_terminal(e):
    front = ["run", "--rm", "-it", *e.always]
    e.on_terminal([*front, IMAGE, "sh", "-c", "tty; sleep 1; stty size"], size=(31, 97)).ok().says("/dev/pts/0").says("31 97")
    e.on_terminal([*front, IMAGE, "sh"], typed="echo sum $((40+2))\nexit 5\n").exits(5).says("sum 42")


@case(smoke=True)
def run_standard_input(e):
    e.run("-i", "cat", stdin="one\ntwo\n").ok().prints("one\ntwo")
    equal(len(e.run("-i", "cat", stdin="x" * 300_000).ok().out), 300_000, "bytes")


@case()
def run_keeps_both_outputs_apart(e):
    out = e.run("", "sh -c 'echo out; echo err >&2'").ok()
    equal((out.out.strip(), out.err.strip()), ("out", "err"))


@case()
def run_environment_cwd_hostname(e):
    e.run("-e A=b -w /tmp -h deck", "sh -c 'echo $A $PWD $(hostname)'").ok().prints("b /tmp deck")


@case()
def run_with_an_init(e):
    e.run("--init", "sh -c 'cat /proc/1/comm'").ok().says("init|tini|catatonit")


# ---- exec, logs, signals ------------------------------------------------------------


@case(smoke=True)
def exec_codes_and_output(e):
    name = e.up()
    e(f"exec {name} echo hello").ok().prints("hello")
    e(f"exec {name} sh -c 'exit 9'").exits(9)
    # docker 26 and newer answer 126 whatever the runtime says.
    missing = e(f"exec {name} no-such-program").says("executable file .*not found in .PATH")
    check(missing.code == 127 or e.kind == "docker" and missing.code == 126, str(missing))
    e(f"exec {name} /etc").exits(126)
    e(f"exec {name} /etc/passwd").exits(126)
    e(["exec", "-i", name, "cat"], stdin="typed").ok().prints("typed")


@case()
def exec_as_somebody_else(e):
    name = e.up()
    e(f"exec -u 1000:2000 -w /tmp -e A=b {name} sh -c 'echo $(id -u):$(id -g) $PWD $A'").ok().prints("1000:2000 /tmp b")
    e(f"exec -u user {name} id -G").ok().says("1000.*2000")


@case()
def exec_on_a_terminal(e):
    name = e.up()
    e.on_terminal(["exec", "-it", name, "sh", "-c", "tty; exit 3"]).exits(3).says("/dev/pts/")


@case()
def exec_detached(e):
    name = e.up()
    e(f"exec -d {name} touch /tmp/was-here").ok()
    until("the file is there", lambda: e(f"exec {name} test -e /tmp/was-here").code == 0)


@case()
def exec_is_confined(e):
    name = e.up("--cap-drop all --security-opt no-new-privileges")
    e(f"exec {name} grep -E ^CapEff:.0000000000000000 /proc/self/status").ok()
    e(f"exec {name} grep -E ^Seccomp:.2 /proc/self/status").ok()
    e(f"exec {name} grep -E ^NoNewPrivs:.1 /proc/self/status").ok()


@case()
def exec_in_a_stopped_container(e):
    name = e.up("", "true")
    e(f"wait {name}").ok().prints("0")
    e(f"exec {name} true").fails().says("not running|state improper|stopped state")


@case()
def exec_many_at_once(e):
    name = e.up()
    script = "for i in 1 2 3 4 5 6 7 8; do (echo $i) & done; wait"
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(6) as pool:
        for out in pool.map(lambda _: e(["exec", name, "sh", "-c", script]), range(12)):
            equal(len(out.ok().out.split()), 8, "lines")


@case(smoke=True)
def logs(e):
    name = e.up("", "sh -c 'echo out; echo err >&2'")
    e(f"wait {name}").ok()
    out = until("both are logged", lambda: (o := e(f"logs {name}")).out and o.err and o)
    equal((out.out.strip(), out.err.strip()), ("out", "err"))


@case(smoke=True)
def stop_and_its_code(e):
    name = e.up("", "sh -c 'trap \"exit 5\" TERM; echo ready; while :; do sleep 0.1; done'")
    until("ready", lambda: "ready" in e(f"logs {name}").out)
    began = time.monotonic()
    e(f"stop -t 20 {name}").ok()
    check(time.monotonic() - began < 15, "stop waited for nothing")
    equal(e.inspect(name, ".State.ExitCode"), "5", "exit code")


@case()
def stop_kills_in_the_end(e):
    name = e.up("", "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'")
    until("ready", lambda: "ready" in e(f"logs {name}").out)
    e(f"stop -t 1 {name}").ok()
    equal(e.inspect(name, ".State.ExitCode"), "137", "exit code")


@case(smoke=True)
def kill_with_a_signal(e):
    name = e.up("", "sh -c 'trap \"exit 42\" USR1; echo ready; while :; do sleep 0.1; done'")
    until("ready", lambda: "ready" in e(f"logs {name}").out)
    e(f"kill -s USR1 {name}").ok()
    e(f"wait {name}").ok().prints("42")
    e(f"kill {name}").fails().says("is not running|can only kill running|state improper")
    name = e.up()
    e(f"kill {name}").ok()
    e(f"wait {name}").ok().prints("137")


@case()
def restart(e):
    name = e.up("", "sh -c 'echo began; trap \"exit 0\" TERM; while :; do sleep 0.1; done'")
    before = e.pid(name)
    e(f"restart -t 5 {name}").ok()
    check(e.pid(name) != before, "the same process after restart")
    until("it began twice", lambda: e(f"logs {name}").out.count("began") == 2)


@case()
def stop_and_start_again(e):
    name = e.up("", "sh -c 'echo x >>/tmp/log; wc -l </tmp/log; trap \"exit 0\" TERM; while :; do sleep 0.1; done'")
    until("ready", lambda: e(f"logs {name}").out.strip())
    e(f"stop -t 5 {name}").ok()
    e(f"start {name}").ok()
    until("the second run sees the first's file", lambda: e(f"logs {name}").out.split() == ["1", "2"])


@case("docker", "podman")
def restart_policy(e):
    name = e.up("--restart on-failure:2", "sh -c 'echo run; exit 1'")
    until("three runs", lambda: e(f"logs {name}").out.count("run") == 3, 30)


@case(smoke=True)
def remove_a_running_one(e):
    name = e.up()
    pid = e.pid(name)
    e(f"rm {name}").fails()
    e(f"rm -f {name}").ok()
    check(not Path(f"/proc/{pid}").exists(), "its process lives on")


@case("docker", "docker-userns", "podman")
def top(e):
    name = e.up()
    e(f"top {name}").ok().says("PID").says("sleep|trap|sh")


@case()
def copy_and_commit(e):
    name = e.up()
    source = e.scratch() / "file"
    source.write_text("copied")
    source.chmod(0o644)
    e(["cp", source, f"{name}:/tmp/file"]).ok()
    e(f"exec {name} cat /tmp/file").ok().prints("copied")
    e(f"commit {name} localhost/committed:1").ok()
    e(["run", "--rm", *e.always, "localhost/committed:1", "cat", "/tmp/file"]).ok().prints("copied")


# ---- limits -------------------------------------------------------------------------


@case("docker", "docker-userns", "podman", smoke=True)
def limits(e):
    pid = e.pid(e.up("--memory 64m --memory-swap 128m --pids-limit 50 --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0"))
    equal(cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(64 << 20), "memory")
    equal(cgroup_file(pid, "pids", "pids.max", "pids.max"), "50", "pids")
    quota = cgroup_file(pid, "cpu", "cpu.cfs_quota_us", "cpu.max")
    equal(quota.split()[0], "50000", "cpu quota")
    equal(cgroup_file(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0", "cpuset")
    if cgroup_v1():
        equal(cgroup_file(pid, "cpu", "cpu.shares", ""), "512", "shares")
        equal(cgroup_file(pid, "memory", "memory.memsw.limit_in_bytes", ""), str(128 << 20), "swap")


@case("docker", "docker-userns", "podman")
def pids_limit_holds(e):
    e.run("--pids-limit 8", "sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait'").says("fork|resource")


@case("docker", "docker-userns", "podman")
def update(e):
    name = e.up("--memory 64m --memory-swap 64m")
    pid = e.pid(name)
    e(f"update --memory 96m --memory-swap 192m --cpu-shares 300 {name}").ok()
    equal(cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(96 << 20), "memory")
    e(f"update --memory 32m --memory-swap 32m {name}").ok()
    equal(cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max"), str(32 << 20), "memory")
    e(f"update --cpus 0.25 {name}").ok()
    quota = cgroup_file(pid, "cpu", "cpu.cfs_quota_us", "cpu.max")
    equal(int(quota.split()[0]), 25000, "quota")


@case("docker", "docker-userns", "podman")
def pause_and_unpause(e):
    name = e.up()
    e(f"pause {name}").ok()
    equal(e.inspect(name, ".State.Status"), "paused", "status")
    e(f"exec {name} true").fails().says("paused|only .* running containers")
    e(f"unpause {name}").ok()
    equal(e.inspect(name, ".State.Status"), "running", "status")
    e(f"exec {name} true").ok()


@case("docker", "docker-userns", "podman")
def out_of_memory(e):
    name = e.up("--memory 16m --memory-swap 16m", "sh -c 'x=a; while :; do x=$x$x; done'")
    e(f"wait {name}").ok().prints("137")
    if e.kind == "docker":
        equal(e.inspect(name, ".State.OOMKilled"), "true", "OOMKilled")


@case("docker", "podman")
def stats(e):
    name = e.up("--memory 64m")
    e(["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", name]).ok().says("MiB|MB")


@case("docker", "podman")
def ulimits(e):
    e.run("--ulimit nofile=333:444 --ulimit core=0 --ulimit nproc=4096:4096", "sh -c 'ulimit -Sn; ulimit -Hn; ulimit -c'").ok().prints("333\n444\n0")


# ---- the file system ----------------------------------------------------------------


@case(smoke=True)
def read_only_root(e):
    e.run("--read-only --tmpfs /tmp", "sh -c 'touch /tmp/x && ! touch /x'").ok().says("read-only")


@case(smoke=True)
def volumes(e):
    data = e.scratch("volume")
    (data / "in").write_text("from the host")
    e.run(["-v", f"{data}:/data"], "sh -c 'cat /data/in; umask 0; echo back >/data/out'").ok().prints("from the host")
    equal((data / "out").read_text(), "back\n")
    e.run(["-v", f"{data}:/data:ro"], "touch /data/x").fails().says("read-only")
    e.run(["-v", f"{data}/in:/etc/one"], "cat /etc/one").ok().prints("from the host")
    e.run(["--mount", f"type=bind,source={data},target=/data,readonly"], "touch /data/x").fails().says("read-only")


@case()
def named_volumes(e):
    e("volume create keep").ok()
    e.run("-v keep:/keep", "sh -c 'echo kept >/keep/file'").ok()
    e.run("-v keep:/keep:ro", "cat /keep/file").ok().prints("kept")
    e("volume rm keep").ok()


@case("docker", "podman")
def volumes_propagate(e):
    data = e.scratch("volume")
    e.run(["-v", f"{data}:/data:rslave"], "cat /proc/self/mountinfo").ok().says("/data .* master:|/data ")
    name = e.up(["--mount", f"type=bind,source={data},target=/data,bind-propagation=rprivate"])
    e(f"exec {name} ls /data").ok()


@case()
def a_directory_on_a_file(e):
    data = e.scratch("volume")
    e.run(["-v", f"{data}:/etc/passwd"], "true").fails().says("(not|is) a directory")


@case()
def tmpfs(e):
    e.run("--tmpfs /t:size=1m,mode=1777", "sh -c 'df -k /t | tail -n1'").ok().says(r"tmpfs\s+1024 ")
    e.run("--shm-size 3m", "sh -c 'df -k /dev/shm | tail -n1'").ok().says(r"\s3072 ")


@case()
def masked_and_read_only_paths(e):
    e.run("", "sh -c 'wc -c </proc/keys; echo x >/proc/sys/kernel/hostname'").fails().says("^0$").says("read-only")


@case("docker", "podman")
def devices(e):
    e.run("--device /dev/zero:/dev/nothing", "sh -c 'head -c3 /dev/nothing | wc -c'").ok().prints("3")
    log = e.scratch() / "log"
    os.mknod(log, 0o20666, os.makedev(1, 11))
    e.run(["--device", f"{log}:/dev/log:r"], "sh -c 'head -c0 /dev/log; echo x >/dev/log'").fails().says("not permitted")
    e.run("--cap-add MKNOD", "sh -c 'mknod /tmp/z c 1 15; cat /tmp/z'").fails().says("not permitted")


# ---- who it is ----------------------------------------------------------------------


@case(smoke=True)
def users(e):
    e.run("-u 1000:1000", "sh -c 'id -u; id -g'").ok().prints("1000\n1000")
    e.run("-u user", "id -G").ok().says("1000")
    e.run("-u 4321", "sh -c 'echo $HOME $(id -u)'").ok().prints("/ 4321")
    e.run("-u nosuchuser", "true").fails().says("unable to find user nosuchuser")
    e.run("--group-add 3000", "id -G").ok().says("3000")


@case(smoke=True)
def capabilities(e):
    e.run("--cap-drop all", "grep -E ^CapEff:.0000000000000000 /proc/self/status").ok()
    e.run("--cap-drop all --cap-add CHOWN", "grep -E ^CapEff:.0000000000000001 /proc/self/status").ok()
    e.run("", "grep -E ^CapInh:.0000000000000000 /proc/self/status").ok()
    e.run("-u 1000", "grep -E ^CapEff:.0000000000000000 /proc/self/status").ok()
    e.run("--cap-drop CHOWN", "chown 1 /tmp").fails().says("not permitted")


@case(smoke=True)
def seccomp(e):
    e.run("", "grep -E ^Seccomp:.2 /proc/self/status").ok()
    e.run("--security-opt seccomp=unconfined", "grep -E ^Seccomp:.0 /proc/self/status").ok()
    profile = e.scratch() / "profile.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    profile.chmod(0o644)
    e.run(["--security-opt", f"seccomp={profile}"], "mkdir /tmp/x").fails().says("not supported")


@case()
def no_new_privileges(e):
    e.run("-u 1000 --security-opt no-new-privileges", "grep -E ^NoNewPrivs:.1 /proc/self/status").ok()
    e.run("-u 1000", "grep -E ^NoNewPrivs:.0 /proc/self/status").ok()


@case("docker", "podman")
def privileged(e):
    e.run("--privileged", "sh -c 'mount -t tmpfs none /tmp && echo mounted'").ok().prints("mounted")


@case()
def sysctls(e):
    e.run("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward").ok().prints("1")


@case("docker", "podman")
def oom_score(e):
    e.run("--oom-score-adj 500", "cat /proc/self/oom_score_adj").ok().prints("500")


# ---- namespaces ---------------------------------------------------------------------


@case(smoke=True)
def shared_namespaces(e):
    name = e.up("--ipc shareable")
    e.run(f"--pid container:{name}", "cat /proc/1/cmdline").ok().says("trap")
    theirs = {ns: e(f"exec {name} readlink /proc/self/ns/{ns}").ok().text for ns in ("ipc", "net")}
    e.run(f"--ipc container:{name}", "readlink /proc/self/ns/ipc").ok().prints(theirs["ipc"])
    out = e(["run", "--rm", "--network", f"container:{name}", IMAGE, "readlink", "/proc/self/ns/net"])
    out.ok().prints(theirs["net"])


@case("docker", "podman")
def namespaces_of_the_host(e):
    for kind in ("pid", "ipc", "uts"):
        e.run(f"--{kind} host", f"readlink /proc/self/ns/{kind}").ok().prints(os.readlink(f"/proc/self/ns/{kind}"))
    out = e(["run", "--rm", "--network", "host", IMAGE, "readlink", "/proc/self/ns/net"]).ok()
    out.prints(os.readlink("/proc/self/ns/net"))


@case("docker", "podman")
def host_pid_namespace_dies_whole(e):
    name = e.up("--pid host", "sh -c 'sleep 4321 & sleep 4322'")
    pid = e.pid(name)
    e(f"rm -f {name}").ok()
    check(not Path(f"/proc/{pid}").exists(), "its process lives on")
    ps = [line for line in Path("/proc").glob("[0-9]*/cmdline") if b"4321" in _read(line)]
    equal(ps, [], "its child lives on")


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


@case("docker", "podman")
def cgroup_namespaces(e):
    own = e.run("--cgroupns private", "cat /proc/self/cgroup").ok()
    own.never_says(r"(docker|libpod)")
    e.run("--cgroupns host", "cat /proc/self/cgroup").ok().says(r"(docker|libpod)")


@case("docker-userns")
def user_namespace_of_the_daemon(e):
    pid = e.pid(e.up())
    equal(process(pid)["Uid"].split()[0], "100000", "uid")
    e.run("", "cat /proc/self/uid_map").ok().says(r"^\s*0\s+100000\s+65536")
    e.run("--userns host", "cat /proc/self/uid_map").ok().says(r"^\s*0\s+0\s+4294967295")


@case("podman")
def user_namespaces(e):
    e.run("--uidmap 0:100000:5000 --gidmap 0:100000:5000", "cat /proc/self/uid_map").ok().says(r"^\s*0\s+100000\s+5000")
    e.run("--uidmap 0:100000:5000 -u 7", "sh -c 'id -u; touch /tmp/x; stat -c %u /tmp/x'").ok().prints("7\n7")


@case("podman-user")
def user_namespaces_of_a_user(e):
    e.run("--userns keep-id", "id -u").ok().prints(str(e.UID))


# ---- health, builds, pods -----------------------------------------------------------


@case("docker")
def health_checks(e):
    name = e.up("--health-cmd 'test -e /tmp/good' --health-interval 1s --health-retries 1")
    until("unhealthy", lambda: e.inspect(name, ".State.Health.Status") == "unhealthy", 20)
    e(f"exec {name} touch /tmp/good").ok()
    until("healthy", lambda: e.inspect(name, ".State.Health.Status") == "healthy", 20)


@case("podman", "podman-user")
def health_checks_by_hand(e):
    name = e.up("--health-cmd 'test -e /tmp/good' --health-interval disable --health-retries 1")
    e(f"healthcheck run {name}").exits(1)
    e(f"exec {name} touch /tmp/good").ok()
    e(f"healthcheck run {name}").ok()


DOCKERFILE = f"""\
FROM {IMAGE}
RUN echo built >/file && id -u >>/file
USER 1000
WORKDIR /tmp
RUN id -u >mine
CMD ["cat", "/file", "mine"]
"""


@case("docker", "podman", "podman-user")
def build(e):
    context = e.scratch("context")
    (context / "Dockerfile").write_text(DOCKERFILE)
    broken = e.scratch("context")
    (broken / "Dockerfile").write_text(DOCKERFILE.replace("RUN id -u >mine", "RUN exit 17"))
    for kit in e.build_kits():
        build = lambda *more: command([*e.front(), "build", "--network", "none", *kit[0], *more], env=kit[1])
        build("-t", "localhost/built:1", context).ok()
        e(["run", "--rm", *e.always, "localhost/built:1"]).ok().prints("built\n0\n1000")
        build(broken).fails().says("17")


@case("podman")
def pods(e):
    e("pod create --name deck --network none --infra-image " + IMAGE + " --infra-command 'sleep 1000'").ok()
    e(f"run -d --pod deck --name one {IMAGE} sh -c 'echo shared >/dev/shm/x; sleep 1000'").ok()
    ns = [e(f"exec one readlink /proc/self/ns/{kind}").ok().text for kind in ("net", "ipc")]
    for kind, value in zip(("net", "ipc"), ns):
        e(f"run --rm --pod deck {IMAGE} readlink /proc/self/ns/{kind}").ok().prints(value)
    e("pod stop -t 1 deck").ok()
    e("pod start deck").ok()
    e("pod rm -f deck").ok()


@case("podman")
def without_cgroups(e):
    if e.runtime == "runc":
        skip("runc has no --cgroup-manager disabled")
    name = e.up("--cgroups disabled")
    pid = e.pid(name)
    equal(Path(f"/proc/{pid}/cgroup").read_text(), Path("/proc/self/cgroup").read_text(), "cgroups")
    e(f"exec {name} true").ok()
    e(f"rm -f -t 1 {name}").ok()


@case("docker")
def live_restore(e):
    name = e.up()
    pid = e.pid(name)
    e.daemon.kill()
    e.begin()
    equal(e.pid(name), pid, "pid")
    e(f"exec {name} true").ok()
    e(f"stop -t 5 {name}").ok()


@case("docker", smoke=True)
def info_knows_the_runtime(e):
    name = e.binary.name if e.is_soute else "control"
    equal(e(["info", "-f", "{{.DefaultRuntime}}"]).ok().text, name)


@case("docker", "podman")
def many_at_once(e):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        for i, out in enumerate(pool.map(lambda i: e.run("", f"echo {i}"), range(12))):
            out.ok().prints(str(i))
