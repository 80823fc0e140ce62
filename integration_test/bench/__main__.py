# SPDX-License-Identifier: Apache-2.0
"""Measures runtimes side by side. hack/bench calls it, in a mount and a pid namespace of its own.

One round runs every runtime once for every piece of work, in random order: only ratios within one
run say something. Times are taken by lap.c; see docs/performance.md for what the figures mean.
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

import picture

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True, help="a tmpfs")
    parser.add_argument("--tools", required=True, help="where floor, lap, true and pause are")
    parser.add_argument("--runtimes", required=True, help="NAME=PATH,...; the first is the one under test")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quiet", type=float, default=0.25, help="seconds before each command of the quiet rounds")
    parser.add_argument("--list", type=int, default=200)
    parser.add_argument("--alive", type=int, default=0, help="containers of the scale measurement; 0 leaves it out")
    parser.add_argument("--lane", required=True, help="hybrid, v1 or v2")
    parser.add_argument("--tag", required=True, help="what all ids begin with")
    parser.add_argument("--out", required=True, help="the JSON file")
    return parser.parse_args()


class Lap:
    """The stopwatch: one process for the whole run."""

    def __init__(self, tools, log):
        env = {"PATH": os.environ["PATH"]}
        self.log = log
        self.process = subprocess.Popen(
            [os.path.join(tools, "lap")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env, text=True
        )

    def __call__(self, words):
        self.process.stdin.write("\t".join(words) + "\n")
        self.process.stdin.flush()
        wall, user, system, faults, rss, status = self.process.stdout.readline().split()
        return {
            "wall": float(wall) / 1000,
            "cpu": (float(user) + float(system)) / 1000,
            "faults": int(faults),
            "rss": int(rss),
            "status": int(status),
        }


class Bench:
    def __init__(self, options):
        self.options = options
        self.v2 = options.lane == "v2"
        self.runtimes = dict(pair.split("=", 1) for pair in options.runtimes.split(","))
        self.log = open(os.path.join(os.path.dirname(options.out), f"{options.lane}.log"), "w")
        self.lap = Lap(options.tools, self.log)
        self.tools = options.tools
        self.samples = {}
        self.failures = {}
        self.count = 0

    # ---- bundles ----

    def bundle(self, name, change=lambda spec: None):
        path = os.path.join(self.options.dir, name)
        root = os.path.join(path, "rootfs")
        for part in ("proc", "dev", "sys", "data"):
            os.makedirs(os.path.join(root, part))
        for tool in ("true", "pause"):
            shutil.copy(os.path.join(self.tools, tool), root)
        subprocess.run([next(iter(self.runtimes.values())), "spec"], cwd=path, check=True)
        with open(os.path.join(path, "config.json")) as file:
            spec = json.load(file)
        # crun of Debian 12 knows no later one.
        spec["ociVersion"] = "1.0.2"
        spec["process"]["terminal"] = False
        spec["process"]["args"] = ["/true"]
        change(spec)
        with open(os.path.join(path, "config.json"), "w") as file:
            json.dump(spec, file)
        return path

    def bundles(self):
        def pause(spec):
            spec["process"]["args"] = ["/pause"]

        def seccomp(spec):
            with open(os.path.join(HERE, "../../crates/libcontainer/tests/data/docker-seccomp.json")) as file:
                spec["linux"]["seccomp"] = json.load(file)

        def user(spec):
            spec["linux"]["namespaces"].append({"type": "user"})
            maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = maps

        def mounts(spec):
            for n in range(30):
                mount = {"destination": f"/data/{n}", "type": "bind", "source": self.options.dir, "options": ["bind", "ro"]}
                spec["mounts"].append(mount)

        self.plain = self.bundle("plain")
        self.pause = self.bundle("pause", pause)
        self.seccomp = self.bundle("seccomp", seccomp)
        self.user = self.bundle("user", user)
        self.mounts = self.bundle("mounts", mounts)
        for n in range(30):
            os.makedirs(os.path.join(self.mounts, "rootfs/data", str(n)))
        for dir, _, files in os.walk(os.path.join(self.user, "rootfs")):
            for path in [dir] + [os.path.join(dir, file) for file in files]:
                os.chown(path, 100000, 100000)

    # ---- commands ----

    def id(self):
        self.count += 1
        return f"{self.options.tag}-{self.count}"

    def words(self, runtime, *rest):
        return [self.runtimes[runtime], "--root", os.path.join(self.options.dir, "state", runtime), *rest]

    def floor(self, verb, *rest):
        return [os.path.join(self.tools, "floor"), verb, *(["-2"] if self.v2 else []), *rest]

    def must(self, words):
        done = self.lap(words)
        if done["status"] != 0:
            raise RuntimeError(f"{' '.join(words)}: status {done['status']}")
        return done

    def sample(self, work, who, words):
        done = self.lap(words)
        if done["status"] == 0:
            self.samples.setdefault(work, {}).setdefault(who, []).append(done)
        else:
            # A failed run is fast: it must not count.
            failures = self.failures.setdefault(work, {})
            failures[who] = failures.get(who, 0) + 1
        return done["status"] == 0

    # ---- works ----

    def runs(self, work, bundle, floor_flags, rounds, quiet=0.0):
        floor_root = os.path.join(bundle, "rootfs")
        for _ in range(rounds):
            for who in random.sample(["floor", *self.runtimes], len(self.runtimes) + 1):
                if who in self.failures.get(work, {}) and who not in self.samples.get(work, {}):
                    continue
                time.sleep(quiet)
                if who == "floor":
                    if floor_flags is not None:
                        self.sample(work, who, self.floor("run", *floor_flags, self.id(), floor_root, "/true"))
                else:
                    id = self.id()
                    if not self.sample(work, who, self.words(who, "run", "--bundle", bundle, id)):
                        self.lap(self.words(who, "delete", "--force", id))

    def lives(self, rounds):
        """create, start, state, exec, kill, delete of one container, by each runtime in turn."""
        for _ in range(rounds):
            for who in random.sample(list(self.runtimes), len(self.runtimes)):
                id = self.id()
                try:
                    if not self.sample("create", who, self.words(who, "create", "--bundle", self.pause, id)):
                        continue
                    self.sample("start", who, self.words(who, "start", id))
                    self.sample("state", who, self.words(who, "state", id))
                    self.sample("exec", who, self.words(who, "exec", id, "/true"))
                    pid, group = self.place(who, id)
                    if who == next(iter(self.runtimes)) and group:
                        self.sample("exec", "floor", self.floor("exec", group, str(pid), "/true"))
                    self.sample("kill", who, self.words(who, "kill", id, "KILL"))
                    until = time.time() + 5
                    while os.path.exists(f"/proc/{pid}") and time.time() < until:
                        time.sleep(0.002)
                    time.sleep(0.005)
                    self.sample("delete", who, self.words(who, "delete", id))
                finally:
                    self.lap(self.words(who, "delete", "--force", id))
            # The least that any command costs: a program that does nothing.
            self.sample("no-op", "floor", [os.path.join(self.tools, "true")])

    def place(self, who, id):
        """Its first process, and its group in the main tree."""
        state = json.loads(subprocess.run(self.words(who, "state", id), capture_output=True, check=True).stdout)
        with open(f"/proc/{state['pid']}/cgroup") as file:
            groups = [line.strip().split(":", 2)[2] for line in file]
        return state["pid"], groups[-1].lstrip("/") if groups else None

    def waiting(self, who):
        """The memory of an init that waits for start."""
        id = self.id()
        try:
            if self.lap(self.words(who, "create", "--bundle", self.plain, id))["status"]:
                return None
            pid, _ = self.place(who, id)
            with open(f"/proc/{pid}/smaps_rollup") as file:
                fields = dict(line.split(":", 1) for line in file.readlines()[1:])
            return {key.lower(): int(fields[key].split()[0]) for key in ("Rss", "Pss")}
        finally:
            self.lap(self.words(who, "delete", "--force", id))

    def lists(self, rounds):
        able = [who for who in self.runtimes if who in self.samples["create"]]
        ids = {who: [self.id() for _ in range(self.options.list)] for who in able}
        try:
            for who in able:
                for id in ids[who]:
                    self.must(self.words(who, "create", "--bundle", self.plain, id))
            for _ in range(rounds):
                for who in random.sample(able, len(able)):
                    self.sample(f"list of {self.options.list}", who, self.words(who, "list"))
        finally:
            for who in able:
                for id in ids[who]:
                    self.lap(self.words(who, "delete", "--force", id))

    def together(self, rounds, at_once=8, total=100):
        """Many runs, eight at once: the whole time, by xargs."""
        work = f"{total} runs, {at_once} at once"
        for _ in range(rounds):
            for who in random.sample(["floor", *self.runtimes], len(self.runtimes) + 1):
                if who == "floor":
                    words = self.floor("run", "{}", os.path.join(self.plain, "rootfs"), "/true")
                else:
                    words = self.words(who, "run", "--bundle", self.plain, "{}")
                first = self.count
                self.count += total
                names = " ".join(f"{self.options.tag}-p{first + n}" for n in range(total))
                line = " ".join(words)
                script = f"printf '%s\\n' {names} | xargs -P {at_once} -I {{}} {line}"
                self.sample(work, who, ["/bin/sh", "-c", script])

    def scale(self, alive):
        """create and state of the first containers and of the last ones."""
        who = next(iter(self.runtimes))
        ids = []
        edge = min(20, alive // 4)
        try:
            for n in range(alive):
                id = self.id()
                ids.append(id)
                end = "first" if n < edge else "last" if n >= alive - edge else None
                words = self.words(who, "create", "--bundle", self.plain, id)
                if end is None:
                    self.must(words)
                    continue
                self.sample(f"create, the {end} of {alive}", who, words)
                self.sample(f"state, the {end} of {alive}", who, self.words(who, "state", id))
            for _ in range(10):
                self.sample(f"list of {alive}", who, self.words(who, "list"))
        finally:
            for id in ids:
                self.lap(self.words(who, "delete", "--force", id))

    def least_memory(self, who):
        """The smallest memory limit, in KiB, with which a container runs."""
        if who not in self.samples["run"]:
            return None
        low, high = 0, 32 << 10
        while high - low > max(16, high // 32):
            middle = (low + high) // 2
            bundle = os.path.join(self.options.dir, f"memory-{who}")
            shutil.rmtree(bundle, ignore_errors=True)

            def limit(spec):
                spec["linux"]["resources"]["memory"] = {"limit": middle << 10}

            self.bundle(f"memory-{who}", limit)
            id = self.id()
            done = self.lap(self.words(who, "run", "--bundle", bundle, id))
            if done["status"]:
                self.lap(self.words(who, "delete", "--force", id))
                low = middle
            else:
                high = middle
        return high

    def calls(self, who):
        """System calls of one run, all its processes together."""
        if not shutil.which("strace"):
            return None
        table = os.path.join(self.options.dir, "calls")
        words = ["strace", "-f", "-c", "-o", table] + self.words(who, "run", "--bundle", self.plain, self.id())
        if subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log).returncode:
            return None
        with open(table) as file:
            return int(file.read().splitlines()[-1].split()[3])


def summary(samples):
    walls = sorted(sample["wall"] for sample in samples)
    quarter = len(walls) // 4
    return {
        "n": len(walls),
        "median": round(statistics.median(walls), 3),
        "min": round(walls[0], 3),
        "quartiles": [round(walls[quarter], 3), round(walls[-1 - quarter], 3)],
        "cpu": round(statistics.median(sample["cpu"] for sample in samples), 3),
        "faults": statistics.median(sample["faults"] for sample in samples),
        "rss": statistics.median(sample["rss"] for sample in samples),
    }


def table(results, first):
    for work, row in results["works"].items():
        floor = row.get("floor")
        print(f"\n{work}")
        for who, it in row.items():
            least = min((r["median"] for name, r in row.items() if name not in ("floor", first)), default=None)
            ratio = f"  {it['median'] / floor['median']:5.2f} x floor ({it['min'] / floor['min']:.2f} of least)" if floor else ""
            peer = f"  {it['median'] / least:5.2f} x best peer" if least and who == first else ""
            spread = f"[{it['quartiles'][0]:.2f} - {it['quartiles'][1]:.2f}]"
            print(f"  {who:12} {it['median']:9.2f} ms  least {it['min']:8.2f} {spread:>18}  cpu {it['cpu']:7.2f}{ratio}{peer}")


def main():
    options = arguments()
    bench = Bench(options)
    first = next(iter(bench.runtimes))
    bench.bundles()
    rounds = options.rounds
    bench.runs("run", bench.plain, [], rounds)
    bench.runs("run, after quiet", bench.plain, [], max(5, rounds // 3), options.quiet)
    filter = os.path.join(options.dir, "filter.bpf")
    id = bench.id()
    bench.must(bench.words(first, "create", "--bundle", bench.seccomp, id))
    shutil.copy(os.path.join(options.dir, "state", first, id, "seccomp.bpf"), filter)
    bench.must(bench.words(first, "delete", "--force", id))
    bench.runs("run, Docker's seccomp profile", bench.seccomp, ["-s", filter], rounds)
    bench.runs("run, user namespace", bench.user, ["-u"], rounds)
    bench.runs("run, 30 more mounts", bench.mounts, None, rounds)
    bench.lives(rounds)
    if options.list:
        bench.lists(max(5, rounds // 2))
    bench.together(max(3, rounds // 8))
    if options.alive:
        bench.scale(options.alive)
    results = {
        "lane": options.lane,
        "rounds": rounds,
        "kernel": os.uname().release,
        "runtimes": {
            who: {
                "version": subprocess.run([path, "--version"], capture_output=True, text=True).stdout.splitlines()[0],
                "size": os.path.getsize(os.path.realpath(path)),
                "calls": bench.calls(who),
                "least_memory": bench.least_memory(who),
                "waiting": bench.waiting(who),
            }
            for who, path in bench.runtimes.items()
        },
        "works": {
            work: {who: summary(samples) for who, samples in row.items()} for work, row in bench.samples.items()
        },
        "failures": bench.failures,
    }
    with open(options.out, "w") as file:
        json.dump(results, file, indent=1)
    picture.draw(results, options.out.replace(".json", ".svg"))
    table(results, first)
    print()
    for who, it in results["runtimes"].items():
        rest = f"run: {it['calls']} calls, least memory limit {it['least_memory']} KiB, waiting init {it['waiting']}"
        print(f"  {who:12} {it['size'] >> 10} KiB, {rest}")
    for work, row in bench.failures.items():
        for who, count in row.items():
            print(f"  failed: {work}: {who}: {count}; see {bench.log.name}")


if __name__ == "__main__":
    sys.exit(main())
