# SPDX-License-Identifier: Apache-2.0
"""What every engine's cases share: commands with a time limit, assertions that say what
they saw, daemons that end with us, and the census at the end.

All this runs below hack/test-engines: in a pid, mount, cgroup and network namespace of its
own, so /proc shows only what we started, and whatever is left can be seen (and is gone
when the namespaces end).
"""

import errno
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import termios
import time
from pathlib import Path

IMAGE = "localhost/busy:1"
CGROUPS = Path("/sys/fs/cgroup")


class Skip(Exception):
    """A case that cannot run here, with the reason."""


class Failure(AssertionError):
    """A case that saw something else than it should."""


def skip(why):
    raise Skip(why)


class Out:
    """What a command said, and how it ended."""

    def __init__(self, line, code, out, err=""):
        self.line, self.code, self.out, self.err = line, code, out, err

    def __str__(self):
        return f"{self.line}\n  status {self.code}\n  {self.out.strip()}\n  {self.err.strip()}"

    def ok(self):
        return self.exits(0)

    def exits(self, code):
        if self.code != code:
            raise Failure(f"exit status {code} expected: {self}")
        return self

    def fails(self):
        if self.code == 0:
            raise Failure(f"should have failed: {self}")
        return self

    def says(self, pattern):
        if not re.search(pattern, self.out + self.err, re.I | re.M):
            raise Failure(f"{pattern!r} expected: {self}")
        return self

    def never_says(self, pattern):
        if re.search(pattern, self.out + self.err, re.I | re.M):
            raise Failure(f"{pattern!r} not expected: {self}")
        return self

    def prints(self, text):
        if self.out.strip() != text:
            raise Failure(f"{text!r} expected: {self}")
        return self

    @property
    def text(self):
        return self.out.strip()

    @property
    def json(self):
        return json.loads(self.out)


def equal(seen, expected, what=""):
    if seen != expected:
        raise Failure(f"{what}: {seen!r}, expected {expected!r}")


def check(so, what):
    if not so:
        raise Failure(what)


def until(what, so, seconds=20):
    """Waits until `so()` is true, and gives its value."""
    end = time.monotonic() + seconds
    while not (value := so()):
        if time.monotonic() > end:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return value


def words(line):
    return shlex.split(line) if isinstance(line, str) else [str(word) for word in line]


def command(line, stdin=None, env=None, seconds=60, cwd=None):
    """Runs a command to its end."""
    line = words(line)
    shown = shlex.join(line)
    try:
        done = subprocess.run(
            line,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=env,
            cwd=cwd,
        )
    except subprocess.TimeoutExpired as e:
        said = b"".join(part for part in (e.stdout, e.stderr) if part).decode(errors="replace")
        raise Failure(f"{shown}: not within {seconds} s\n{said}") from None
    return Out(shown, done.returncode, done.stdout, done.stderr)


def on_terminal(line, typed="", env=None, size=None, seconds=30):
    """Runs a command on a new terminal, types, and gives what the terminal showed."""
    line = words(line)
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe(line[0], line, env or os.environ)
    if size:
        fcntl.ioctl(master, termios.TIOCSWINSZ, bytes([size[0], 0, size[1], 0, 0, 0, 0, 0]))
    shown, end = b"", time.monotonic() + seconds
    try:
        if typed:
            # The terminal is ours only once the engine has set it up.
            time.sleep(1)
            os.write(master, typed.encode())
        while time.monotonic() < end:
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                piece = os.read(master, 65536)
            except OSError as e:
                if e.errno == errno.EIO:
                    break
                raise
            if not piece:
                break
            shown += piece
        else:
            os.kill(pid, signal.SIGKILL)
            raise Failure(f"{shlex.join(line)}: not within {seconds} s\n{shown.decode(errors='replace')}")
        status = os.waitpid(pid, 0)[1]
    finally:
        os.close(master)
    return Out(shlex.join(line), os.waitstatus_to_exitcode(status), shown.decode(errors="replace"))


class Daemon:
    """A program in the background; its output goes to a file."""

    def __init__(self, line, log, env=None):
        self.log = log
        with open(log, "ab") as file:
            self.child = subprocess.Popen(
                words(line), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, start_new_session=True
            )

    def ready(self, what, so, seconds=60):
        def alive():
            if self.child.poll() is not None:
                raise Failure(f"{self.child.args[0]} ended with {self.child.returncode}; see {self.log}")
            return so()

        until(what, alive, seconds)

    def end(self, seconds=30):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def kill(self):
        self.child.kill()
        self.child.wait()


def process(pid):
    """/proc/PID/status as a dictionary."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def cgroup_file(pid, controller, v1, v2):
    """The text of a file in a process's cgroup, by its names on v1 and v2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return (CGROUPS / controllers / path.lstrip("/") / v1).read_text().strip()
        v2_path = CGROUPS / path.lstrip("/") / v2
        if not controllers and v2_path.exists():
            return v2_path.read_text().strip()
    skip(f"no {controller} controller here")


def cgroup_v1():
    return not (CGROUPS / "cgroup.controllers").exists()


# ---- the census ---------------------------------------------------------------------


def ancestors():
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        pid = int(process(pid)["PPid"])
    return pids


def processes():
    """All processes here but ourselves: {pid: command line}."""
    ours, found = ancestors() | {1}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in ours:
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if process(entry.name)["State"][0] != "Z" and line:
                found[int(entry.name)] = line
        except (FileNotFoundError, ProcessLookupError, KeyError):
            pass
    return found


def mounts():
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def cgroups():
    return {path for path, _, _ in os.walk(CGROUPS)}


class Census:
    """What was there before an engine began."""

    def __init__(self):
        self.mounts, self.cgroups = mounts(), cgroups()

    def left(self, states, engine_cgroups, engine_mounts):
        """What an engine that has ended left: processes, mounts, containers' cgroups, and
        entries in the runtime's state directories."""
        end, found = time.monotonic() + 5, processes()
        while found and time.monotonic() < end:
            time.sleep(0.1)
            found = processes()
        left = [f"process {pid}: {line}" for pid, line in found.items()]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        left += [f"mount {m}" for m in mounts() if m not in self.mounts and not re.search(engine_mounts, m)]
        for path in cgroups() - self.cgroups:
            if not re.search(engine_cgroups, path):
                left.append(f"cgroup {path}")
        for state in states:
            for pattern in (".lock/*", "*"):
                left += [f"state {p}" for p in Path(state).glob(pattern) if p.name != ".lock"]
        # Deepest first: an engine's empty parents go as well.
        for path in sorted(cgroups() - self.cgroups, key=len, reverse=True):
            try:
                os.rmdir(path)
            except OSError:
                pass
        for mount in sorted((m for m in mounts() if m not in self.mounts), key=len, reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, stderr=subprocess.DEVNULL)
        return left
