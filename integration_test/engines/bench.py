# SPDX-License-Identifier: Apache-2.0
"""Times of engines on several runtimes. Called by hack/bench-engines.

Each engine is started once and knows all runtimes; a round uses every runtime once, in random
order, and a difference is that of two samples of one round. The runtimes stand behind timed.c,
which writes down what each of their calls took.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import engines
import image
from harness import IMAGE, Failure, processes, until

VERBS = ("create", "start", "state", "kill", "delete", "run", "exec", "features")
# What stands for a container's whole life among a runtime's calls.
OWN = ("create", "start", "delete")
# Before the rounds that count: caches, and runtimes that an engine cannot use.
WARM = 2


class Docker(engines.Docker):
    """Where a container gets a network namespace, a hook of docker's own in it is part of create."""

    WHAT = "docker run --rm --network none"

    def begin(self):
        self.daemon_flags = [*self.daemon_flags]
        for name, path in self.args.binaries.items():
            self.daemon_flags += ["--add-runtime", f"bench-{name}={path}"]
        super().begin()

    def sample(self, who):
        self.run(["--runtime", f"bench-{who}"], "true").ok()

    def after(self, made):
        pass


class DockerHost(Docker):
    """Without that hook, which takes longer than any runtime."""

    WHAT = "docker run --rm --network host"
    always = ["--network", "host"]


class Podman(engines.Podman):
    WHAT = "podman run --rm --network none"

    def sample(self, who):
        line = ["--runtime", self.args.binaries[who], "run", "--rm", *self.always, IMAGE, "true"]
        self(line).ok()

    def after(self, made):
        pass


HANDLER = """\
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
BinaryName = "{path}"
"""


class Cri(engines.Cri):
    WHAT = "a CRI pod (RunPodSandbox, CreateContainer, StartContainer)"

    def begin(self):
        with (self.home / "config.toml").open("a") as config:
            for name, path in self.args.binaries.items():
                config.write(HANDLER.format(name=name, path=path))
        super().begin()

    def sample(self, who):
        pod = self.pod(network="POD", handler=who)
        pod.container(command=["sleep", "1000"])
        return pod

    def after(self, made):
        if made:
            made.remove()
        else:
            self.clean()


ENGINES = {"docker": Docker, "docker-host": DockerHost, "podman": Podman, "cri": Cri}


class Bench:
    """The samples of one engine."""

    def __init__(self, args, name):
        self.args, self.name = args, name
        self.samples = {who: [] for who in args.binaries}
        self.failed = {}
        self.calls = args.dir / "calls"

    def one(self, who):
        """One sample: milliseconds in all, and those of each of the runtime's calls."""
        made = None
        self.calls.write_text("")
        began = time.perf_counter()
        try:
            made = self.engine.sample(who)
            wall = (time.perf_counter() - began) * 1000
        finally:
            self.engine.after(made)
            # What an engine does behind the user's back would be in the next sample.
            until("the engine is quiet", lambda: set(processes()) <= self.daemons)
        calls = {}
        for line in self.calls.read_text().splitlines():
            name, us, cpu, *words = line.split(" ")
            if name != who:
                raise Failure(f"a call of {name} among those of {who}: {line}")
            verb = next((word for word in words if word in VERBS), "other")
            spent = calls.setdefault(verb, [0, 0.0, 0.0])
            calls[verb] = [spent[0] + 1, spent[1] + float(us) / 1000, spent[2] + float(cpu) / 1000]
        if not calls:
            raise Failure(f"{who} was never called")
        return {"wall": wall, "own": sum(calls[verb][1] for verb in OWN if verb in calls), "calls": calls}

    def round(self, keep):
        for who in random.sample(list(self.samples), len(self.samples)):
            try:
                sample = self.one(who)
            except Failure as why:
                self.failed.setdefault(who, []).append(str(why))
                sample = None
                if not keep:
                    print(f"{self.name}: {who} is left out: {why}", file=sys.stderr)
                    del self.samples[who]
            if keep:
                self.samples[who].append(sample)

    def rounds(self, seconds):
        home = self.args.dir / self.name
        home.mkdir()
        home.chmod(0o755)
        first = next(iter(self.args.binaries))
        self.engine = ENGINES[self.name](home, "control", self.args.binaries[first], self.args)
        end = time.monotonic() + seconds
        try:
            self.engine.start()
            self.daemons = set(processes())
            for n in range(WARM + self.args.rounds):
                if time.monotonic() > end:
                    print(f"{self.name}: its time is over after {max(0, n - WARM)} rounds", file=sys.stderr)
                    break
                self.round(n >= WARM)
        finally:
            self.engine.end()
            for log in home.glob("*.log"):
                shutil.copy(log, self.args.out.with_name(f"{self.name}-{log.name}"))


def interval(values, draws=2000):
    """The median, and its 95 % interval by bootstrap."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(draws))
    return [statistics.median(values), medians[draws // 40], medians[-1 - draws // 40]]


def summary(samples, first):
    """Medians of each runtime, and how much more it takes than the first one in the same round."""
    found = {}
    for who, row in samples.items():
        good = [sample for sample in row if sample]
        if not good:
            continue
        verbs = sorted({verb for sample in good for verb in sample["calls"]})
        found[who] = {
            "samples": len(good),
            "wall": statistics.median(sample["wall"] for sample in good),
            "own": statistics.median(sample["own"] for sample in good),
            "calls": {
                verb: {
                    "times": statistics.median(sample["calls"].get(verb, [0])[0] for sample in good),
                    "wall": statistics.median(sample["calls"].get(verb, [0, 0])[1] for sample in good),
                    "cpu": statistics.median(sample["calls"].get(verb, [0, 0, 0])[2] for sample in good),
                }
                for verb in verbs
            },
        }
        pairs = [pair for pair in zip(row, samples.get(first, []), strict=False) if all(pair)]
        if who != first and pairs:
            for what in ("wall", "own"):
                found[who][f"{what}_more"] = interval([theirs[what] - ours[what] for theirs, ours in pairs])
    return found


def table(name, found):
    print(f"\n{ENGINES[name].WHAT}: medians, ms; how much more than {next(iter(found))} in the same round [95 %]")
    for who, it in found.items():
        more = {
            what: "{:+8.2f} [{:+.2f}, {:+.2f}]".format(*it[f"{what}_more"]) if f"{what}_more" in it else ""
            for what in ("wall", "own")
        }
        calls = ", ".join(f"{verb} {it['calls'][verb]['wall']:.2f}" for verb in OWN if verb in it["calls"])
        print(f"  {who:8} {it['wall']:9.2f} {more['wall']:30}  ({it['samples']} samples)")
        print(f"  {'':8} {it['own']:9.2f} {more['own']:30}  in its own calls: {calls}")


def version(path):
    return subprocess.run([path, "--version"], capture_output=True, text=True).stdout.splitlines()[0]


def main():
    parser = argparse.ArgumentParser(prog="hack/bench-engines")
    parser.add_argument("--runtimes", required=True, help="NAME=PATH,…; the first is the one that others are compared to")
    parser.add_argument("--dir", type=Path, required=True, help="where engines keep all they have; timed is there")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no round begins after this time")
    parser.add_argument("engines", nargs="*", default=[*ENGINES], metavar="ENGINE", help=f"of {', '.join(ENGINES)}")
    args = parser.parse_args()
    if wrong := set(args.engines) - set(ENGINES):
        parser.error(f"unknown engine {wrong.pop()} (of {', '.join(ENGINES)})")
    runtimes = dict(pair.split("=", 1) for pair in args.runtimes.split(","))
    args.binaries = {}
    for place in ("bin", "real"):
        (args.dir / place).mkdir()
    for name, path in runtimes.items():
        shutil.copy(path, args.dir / "real" / name)
        args.binaries[name] = args.dir / "bin" / name
        shutil.copy(args.dir / "timed", args.binaries[name])
    args.image = image.archive(args.dir / "image")

    results = {
        "kernel": os.uname().release,
        "rounds": args.rounds,
        "runtimes": {name: version(path) for name, path in runtimes.items()},
        "engines": {},
    }
    end = time.monotonic() + args.minutes * 60
    for n, name in enumerate(args.engines):
        bench = Bench(args, name)
        bench.rounds((end - time.monotonic()) / (len(args.engines) - n))
        found = summary(bench.samples, next(iter(runtimes)))
        results["engines"][name] = {"summary": found, "failed": bench.failed, "samples": bench.samples}
        args.out.write_text(json.dumps(results, indent=1))
        table(name, found)
        for who, why in bench.failed.items():
            print(f"  {who} failed {len(why)} times: {why[0]}")
    return 0 if all(len(it["summary"]) > 1 for it in results["engines"].values()) else 1


sys.exit(main())
