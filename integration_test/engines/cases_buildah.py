# SPDX-License-Identifier: Apache-2.0
"""Cases of buildah, which calls a runtime for each RUN of a build."""

import shlex

from harness import IMAGE, equal

CASES = []


def case(function):
    CASES.append(function)
    return function


def build(e, *lines, flags="", name="localhost/made:1"):
    context = e.scratch("context")
    (context / "Containerfile").write_text("\n".join([f"FROM {IMAGE}", *lines, ""]))
    (context / "from-context").write_text("from the context\n")
    return e(["build", *e.always, *shlex.split(flags), "-t", name, context])


@case
def run_in_a_working_container(e):
    e.run("", "echo hello").ok().prints("hello")
    e.run("", "sh -c 'exit 7'").exits(7)


@case
def run_keeps_what_it_wrote(e):
    name = e.working()
    e.run("", "sh -c 'echo kept >/file'", name).ok()
    e.run("", "cat /file", name).ok().prints("kept")


@case
def run_wrong_commands(e):
    e.run("", "no-such-program").fails().says("executable file .*not found in .PATH")
    e.run("", "/etc/passwd").fails().says("permission denied")


@case
def run_on_a_terminal(e):
    e.on_terminal([*e.words("-t", e.working()), "tty"]).ok().says("/dev/pts/")


@case
def run_as_somebody_else(e):
    e.run("--user 1000:2000 --env A=b --workingdir /tmp", "sh -c 'echo $(id -u):$(id -g) $PWD $A'").ok().prints("1000:2000 /tmp b")


@case
def run_with_capabilities(e):
    e.run("--cap-drop CAP_CHOWN", "chown 1 /tmp").fails().says("not permitted")
    e.run("--cap-add CAP_SYS_ADMIN", "sh -c 'mount -t tmpfs none /tmp && echo mounted'").ok().prints("mounted")


@case
def run_with_volumes(e):
    data = e.scratch("volume")
    (data / "in").write_text("from the host")
    e.run(f"--volume {data}:/data:ro", "cat /data/in").ok().prints("from the host")
    e.run(f"--volume {data}:/data:ro", "touch /data/x").fails().says("read-only")


@case
def builds(e):
    build(
        e, "RUN echo built >/file && id -u >>/file", "COPY from-context /copied", "USER 1000", "WORKDIR /tmp",
        "RUN id -u >mine && cat /copied >>mine",
    ).ok()  # fmt: skip
    e.run("", "cat /file /tmp/mine", e.working("localhost/made:1")).ok().prints("built\n0\n1000\nfrom the context")


@case
def builds_that_fail(e):
    build(e, "RUN exit 17").fails().says("17")
    build(e, "RUN no-such-program").fails().says("not found")


@case
def builds_with_mounts(e):
    build(
        e, "RUN --mount=type=tmpfs,target=/scratch touch /scratch/x && grep ' /scratch ' /proc/self/mountinfo >/seen",
        "RUN --mount=type=bind,source=from-context,target=/bound cat /bound >>/seen",
    ).ok()  # fmt: skip
    e.run("", "cat /seen", e.working("localhost/made:1")).ok().says("tmpfs").says("from the context")


@case
def builds_with_limits(e):
    build(e, "RUN ulimit -n >/seen && df -k /dev/shm | tail -n1 >>/seen", flags="--ulimit nofile=333:444 --shm-size 3m").ok()
    out = e.run("", "cat /seen", e.working("localhost/made:1")).ok().says(r"\s3072 ")
    equal(out.out.split()[0], "333", "nofile")
