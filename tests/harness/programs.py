"""Programs that a story starts, and what it waits for.

Nothing here waits for time to pass: one waits until something is so, and gives up after PATIENCE.
A program is ended by the process group that it was started in, never by its name.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Longer than anything takes on a busy machine.
PATIENCE = 60.0

# Below the range from which the kernel takes the ports of outgoing connections, so that nothing
# takes a port between the moment it was found free and the moment it is listened on.
PORTS = range(12_000, 32_000)

# What the one who runs the tests has set must not matter to the programs that they start.
FOREIGN_PREFIXES = ("PIP_", "GIT_", "CURL_", "SSL_", "REQUESTS_", "FLASK_", "GUNICORN_", "LISTEN_")
FOREIGN_SUFFIXES = ("_proxy", "_PROXY")
FOREIGN = ("RUST_LOG", "NOTIFY_SOCKET", "NO_COLOR", "WGETRC", "PYTHONPATH", "PYTHONWARNINGS")


def find(command):
    """The path of an installed program, or None; Debian keeps servers where users do not look."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return shutil.which(command, path=places)


def built(name):
    """The path of a program of this workspace."""
    path = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / name
    if not path.exists():
        raise AssertionError(f"{path} is not there: run `cargo build --workspace --bins`")
    return path.resolve()


def environment(home, **more):
    """An environment without anything that would send a program elsewhere than the story says."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN_PREFIXES)
        and not name.endswith(FOREIGN_SUFFIXES)
        and name not in FOREIGN
    }
    kept |= {
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return kept | {name: str(value) for name, value in more.items()}


def wait_until(holds, what, patience=PATIENCE, program=None):
    """Waits until `holds()` is true, and returns what it returned."""
    deadline = time.monotonic() + patience
    while True:
        found = holds()
        if found:
            return found
        if program is not None and program.process.poll() is not None:
            raise AssertionError(f"{program.name} ended ({program.process.returncode}): {what}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.01)


# Ports that were given out: whoever got one may not listen on it yet.
_given = set()


def free_port(host="127.0.0.1"):
    """A port that nothing listens on, and that nobody else was given."""
    for _ in range(1000):
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            _given.add(port)
            return port
    raise AssertionError("no free port")


def accepts(port, host="127.0.0.1"):
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


class Program:
    """A running program; its output is in files of `directory`, named after it."""

    def __init__(self, name, command, directory, env=None):
        self.name = name
        self.directory = Path(directory)
        self.out = self.directory / f"{name}.out.log"
        self.err = self.directory / f"{name}.err.log"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=directory,
                env=env or environment(directory),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def wait_for_port(self, port, host="127.0.0.1"):
        wait_until(lambda: accepts(port, host), f"{self.name} listens on {port}", program=self)

    def send(self, number):
        self.process.send_signal(number)

    def worker(self):
        """The one process that it started, which does its work."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return int(wait_until(lambda: children.read_text().split(), "a worker", program=self)[0])

    def ended(self, patience=PATIENCE):
        """Waits for the end, and returns the exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} is still running after {patience:.0f} s") from None

    def stop(self, number=signal.SIGTERM, patience=10):
        """Ends it and everything that it started, asking first."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(patience)


class Done:
    """What a command that ran to its end said."""

    def __init__(self, command, done):
        self.command = " ".join(str(word) for word in command)
        self.code = done.returncode
        self.out = done.stdout.decode("utf-8", "replace")
        self.err = done.stderr.decode("utf-8", "replace")

    def __str__(self):
        return f"$ {self.command}\n[{self.code}]\n{self.out[-4000:]}\n{self.err[-4000:]}"


def run(command, directory, patience=120, env=None, text=""):
    """Runs a command to its end."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=directory,
        env=env or environment(directory),
        input=text.encode(),
        capture_output=True,
        timeout=patience,
    )
    return Done(command, done)
