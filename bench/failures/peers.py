"""The programs of `bench/peers` that a scenario is played by, as Python sees them.

The end-to-end stories use them too. `start(name, command)` is whoever starts programs there: it returns something
with a `process`, and ends that in the end.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

READY_SECONDS = 30


class Endpoint:
    """`bench-endpoint`: what it does is switched by its methods. It outlives being killed and stopped."""

    def __init__(self, start, program, name, ports, directory, service_ms):
        self.start, self.name = start, name
        self.port, self.control_port = ports
        self.log = Path(directory) / f"{name}.ids"
        self.command = [
            program, "--listen", self.at, "--control", f"127.0.0.1:{self.control_port}",
            "--service", str(service_ms), "--log", str(self.log),
        ]
        self.running = self.control = None
        self.begin()

    @property
    def at(self):
        return f"127.0.0.1:{self.port}"

    def begin(self):
        self.running = self.start(self.name, self.command)
        self.control = self.connect()

    def connect(self):
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.control_port), timeout=READY_SECONDS)
                return connection.makefile("rw")
            except OSError:
                if time.monotonic() > deadline or self.running.process.poll() is not None:
                    raise
                time.sleep(0.01)

    def say(self, line):
        self.control.write(f"{line}\n")
        self.control.flush()
        told = self.control.readline().strip()
        if not told or told.startswith("error"):
            raise ValueError(f"{self.name} answers {line!r} by {told!r}")
        return told

    # What goes wrong with it, and the end of that.

    def mode(self, words):
        self.say(f"mode {words}")

    def kill(self):
        self.running.process.send_signal(signal.SIGKILL)
        self.running.process.wait()

    def stop(self):
        self.running.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.running.process.send_signal(signal.SIGCONT)

    def is_stopped(self):
        status = Path(f"/proc/{self.running.process.pid}/stat").read_text()
        return status.rpartition(") ")[2].startswith("T")

    # What it has seen.

    def counts(self):
        """By kind of request, since it was started."""
        return {name: int(value) for name, value in (word.split("=") for word in self.say("counts").split())}

    def requests(self):
        counts = self.counts()
        return counts["gets"] + counts["posts"]

    def ids(self):
        """Every POST whose head has come here, in this life or an earlier one."""
        return self.log.read_text().split() if self.log.exists() else []


class Clients:
    """`bench-clients`, from start to `finish`; laps tell what happened. `more` is for `Popen`."""

    def __init__(self, program, at, connections, directory, name="clients", rate=None, post=False, timeout=10,
                 **more):
        self.acked_file = Path(directory) / f"{name}.acked"
        command = [program, "--to", at, "--connections", str(connections), "--timeout", str(timeout)]
        if rate:
            command += ["--rate", str(rate)]
        if post:
            command += ["--post", name, "--acked", str(self.acked_file)]
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            **more,
        )
        self.process.stdout.readline()

    def lap(self, name="lap"):
        """What has happened since the last lap."""
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def last_lap(self):
        """Lets no client begin another request, and waits for the answers that are still to come."""
        return self.lap("last")

    def acked(self):
        """The POSTs that were answered with 200."""
        return self.acked_file.read_text().split()

    def finish(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def errors(lap):
    return sum(lap["errors"].values())


def merged(laps):
    """The errors of several laps, by what they are."""
    return dict(sum((Counter(lap["errors"]) for lap in laps), Counter()))


def handled_twice(endpoints):
    """POSTs that have reached endpoints more than once: there must be none."""
    seen = Counter(id for endpoint in endpoints for id in endpoint.ids())
    return sorted(id for id, count in seen.items() if count > 1)


def shares(endpoints, before):
    """What part of the requests since `before` (their `requests()`) each of them had."""
    new = [endpoint.requests() - old for endpoint, old in zip(endpoints, before, strict=True)]
    return [count / max(1, sum(new)) for count in new]


def is_even(parts, tolerance):
    fair = 1 / len(parts)
    return all(abs(part - fair) <= tolerance * fair for part in parts)


def program(name, built):
    path = Path(built) / name
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is not there: run `cargo build -p bench-peers`")
    return path
