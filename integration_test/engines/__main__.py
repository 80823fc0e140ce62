# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of each engine with each runtime. Called by hack/test-engines."""

import argparse
import fnmatch
import os
import shutil
import sys
import time
import traceback
from pathlib import Path

import image
from harness import Census, Failure, Skip

import engines
from slurm import Slurm
from swarm import Swarm

ENGINES = {
    "docker": engines.Docker,
    "docker-userns": engines.DockerUserns,
    "slurm": Slurm,
    "swarm": Swarm,
    "podman": engines.Podman,
    "podman-user": engines.PodmanUser,
    "containerd": engines.Containerd,
    "cri": engines.Cri,
    "buildah": engines.Buildah,
}


class Tally:
    """One line a case as it happens; the counts are those of the runtime under test."""

    def __init__(self, under_test):
        self.under_test, self.counts = under_test, {"passed": 0, "failed": 0, "skipped": 0}
        self.seen, self.told = {}, []

    def tell(self, result, engine, runtime, case, why=""):
        why = why.strip()
        if runtime == self.under_test:
            self.counts[result] += 1
        self.seen[(engine, case, runtime)] = result
        shown = {"passed": "ok  ", "failed": "FAIL", "skipped": "skip"}[result]
        line = f"{shown} {engine} with {runtime}: {case}" + (f": {why}" if why else "")
        print(line, flush=True)
        if result != "passed":
            self.told.append(line.split("\n")[0][:300])

    def only_soute_fails(self):
        """The bar: no case that another runtime passes and the one under test fails."""
        return [
            f"{engine}: {case}: {runtime} passes, {self.under_test} does not"
            for (engine, case, runtime), result in self.seen.items()
            if result == "passed" and self.seen.get((engine, case, self.under_test)) == "failed"
        ]


def run_case(tally, engine, runtime, name, what):
    began = time.monotonic()
    try:
        what()
        tally.tell("passed", engine, runtime, name, f"{time.monotonic() - began:.1f} s")
    except Skip as why:
        tally.tell("skipped", engine, runtime, name, str(why))
    except Failure as why:
        tally.tell("failed", engine, runtime, name, str(why))
    except Exception:
        tally.tell("failed", engine, runtime, name, traceback.format_exc())


def run_engine(tally, make, name, runtime, binary, args):
    chosen = [
        case
        for case in make.cases(args.smoke)
        if not args.only or any(fnmatch.fnmatch(case.__name__, f"*{word}*") for word in args.only)
    ]
    if not chosen:
        return
    home = args.dir / f"{name}-{runtime}"
    home.mkdir(parents=True)
    home.chmod(0o755)
    census = Census()
    engine = make(home, runtime, binary, args)
    try:
        run_case(tally, name, runtime, "starts", engine.start)
        if tally.seen[(name, "starts", runtime)] == "passed":
            for case in chosen:
                run_case(tally, name, runtime, case.__name__, lambda case=case: case(engine))
                engine.clean()
    finally:
        try:
            engine.end()
        except Exception:
            traceback.print_exc()

    def nothing_is_left():
        if left := census.left(engine.states(), make.CGROUPS, make.MOUNTS):
            raise Failure("left behind:\n  " + "\n  ".join(left[:20]))

    run_case(tally, name, runtime, "leaves_nothing", nothing_is_left)
    for log in home.glob("*.log"):
        shutil.copy(log, args.logs / f"{name}-{runtime}-{log.name}")
    shutil.rmtree(home, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(prog="hack/test-engines")
    parser.add_argument("--runtimes", required=True, help="NAME=PATH,…; the first is under test")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("engines", nargs="+", choices=sorted(ENGINES))
    args = parser.parse_args()
    runtimes = dict(pair.split("=", 1) for pair in args.runtimes.split(","))
    args.image = image.archive(args.dir / "image")
    bin_dir = args.dir / "bin"
    bin_dir.mkdir()
    tally = Tally(next(iter(runtimes)))
    for name in args.engines:
        for runtime, path in runtimes.items():
            # Where users of all kinds can reach it, under the name that engines go by.
            binary = bin_dir / runtime
            if not binary.exists():
                shutil.copy(path, binary)
                os.chmod(binary, 0o755)
            run_engine(tally, ENGINES[name], name, runtime, binary, args)

    print()
    for line in tally.told:
        print(line)
    for line in tally.only_soute_fails():
        print(f"worse: {line}")
    counts = tally.counts
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 0 if counts["failed"] == 0 and counts["passed"] else 1


sys.exit(main())
