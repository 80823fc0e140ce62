# SPDX-License-Identifier: Apache-2.0
"""Cases of Slurm. Each gets the engine `e`."""

import json

from harness import check, until

CASES = []


def case(function):
    CASES.append(function)
    return function


def prepare(config, change):
    """Slurm gives the program, its environment and its streams; the rest is the bundle's."""
    spec = json.loads(config.read_text())
    spec["process"]["terminal"] = False
    change(spec)
    config.write_text(json.dumps(spec))


@case
def a_step(e):
    e.srun("", "sh -c 'echo here; cat /proc/1/comm; ls /'").ok().says("^here$").says("^busybox|^sh$").says("^bin$")


@case
def standard_streams(e):
    e.srun("", "sh -c 'cat; echo wrong >&2'", stdin="typed\n").ok().says("^typed$").says("^wrong$")


@case
def exit_statuses(e):
    e.srun("", "sh -c 'exit 7'").exits(7)
    e.srun("", "/bin/not-there").fails().says("not-there")


@case
def the_environment_of_the_job(e):
    e.srun("--export=ALL,WORD=hush", "sh -c 'echo $WORD of job $SLURM_JOB_ID'").ok().says("^hush of job [0-9]+$")


@case
def what_the_bundle_asks_for(e):
    def confine(spec):
        spec["process"]["capabilities"] = {}
        spec["linux"].setdefault("resources", {})["pids"] = {"limit": 20}
        spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]})

    said = e.srun("", "sh -c 'touch /x; grep CapEff /proc/self/status; grep \" /tmp \" /proc/mounts'", e.bundle(confine))
    said.ok().says("read-only").says("CapEff:.0000000000000000").says("tmpfs")


@case
def an_array_of_bundles(e):
    job, place = e.sbatch("--array=0-11%4", 'echo "element $SLURM_ARRAY_TASK_ID"; ls -d /home/user')
    until("all have ended", lambda: not e(["squeue", "-h", "-j", job]).out.strip(), 90)
    for n in range(12):
        said = (place / str(n)).read_text()
        check(f"element {n}\n" in said and "/home/user" in said, f"element {n} says {said!r}")


@case
def a_job_is_cancelled(e):
    job, place = e.sbatch("", "echo begun; sleep 300")
    # The number of an element, where there is no array.
    log = place / "4294967294"
    until("it runs", lambda: log.exists() and "begun" in log.read_text(), 30)
    check(e.containers(), "the runtime knows no container of it")
    e(["scancel", job]).ok()
    until("it has gone", lambda: not e.containers() and not e(["squeue", "-h", "-j", job]).out.strip(), 60)


@case
def a_bundle_that_is_wrong(e):
    def wrong(spec):
        spec["linux"]["namespaces"].append({"type": "nonsense"})

    e.srun("", "true", e.bundle(wrong)).fails()
