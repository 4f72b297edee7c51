"""The stage of a scenario: a proxy in front of endpoints, all started anew and ended with it."""

import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness import tools
from harness.peers import child, fill, free_port

from .peers import Clients, Endpoint

CONF = Path(__file__).resolve().parent / "conf"
READY_SECONDS = 10
# How long a proxy waits for a server to begin an answer: five times what a slow one takes.
TRY = "1s"


@dataclass(frozen=True)
class Proxy:
    """A row of the table of proxies."""

    name: str
    conf: str
    arguments: tuple
    # A server as it is configured, and the signal that makes it load its configuration again.
    server: str
    reload: signal.Signals
    balance: str
    # What is said of a server that is watched, and of one that is not.
    watch: tuple = ("", "")


PROXIES = [
    Proxy("bothways", "bothways.kdl", ("run", "--config", "{conf}"), '    to "{at}"', signal.SIGHUP, "p2c"),
    Proxy("haproxy", "haproxy.cfg", ("-W", "-db", "-f", "{conf}"), "    server {name} {at}", signal.SIGUSR2,
          "leastconn"),
    Proxy("nginx", "nginx.conf", ("-p", "{dir}", "-c", "{conf}", "-e", "stderr"),
          "        server {at} {watch};", signal.SIGHUP, "least_conn;", ("max_fails=3 fail_timeout=2s", "max_fails=0")),
]


class Running:
    """A program that was started, with its output in a file."""

    def __init__(self, name, command, log):
        self.name, self.log = name, Path(log)
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                preexec_fn=child(),
            )


class Stage:
    """A context: what is started on it ends with it."""

    def __init__(self, programs, row, endpoints, service_ms, balance=None, watched=True):
        """`watched`: whether the proxy looks for endpoints that fail and lets them be."""
        self.programs, self.row, self.service_ms, self.watched = programs, row, service_ms, watched
        # Empty is a choice too: round robin is what nginx does when nothing is said.
        self.balance = row.balance if balance is None else balance
        self.count, self.loaded = endpoints, 0
        self.running, self.load, self.endpoints = [], [], []
        self.proxy = self.port = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="bench-failures-")
        self.directory = Path(self.folder.name)
        # nginx leaves root.
        os.chmod(self.directory, 0o777)
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self):
        ports = set()
        for _ in range(2 * self.count + 1):
            ports.add(free_port(ports))
        self.port, *ports = sorted(ports)
        pairs = zip(ports[::2], ports[1::2], strict=True)
        program = self.programs["bench-endpoint"]
        self.endpoints = [
            Endpoint(self.start, program, f"endpoint{number}", pair, self.directory, self.service_ms)
            for number, pair in enumerate(pairs, 1)
        ]
        self.write()
        words = {"conf": self.conf, "dir": self.directory}
        arguments = [argument.format(**words) for argument in self.row.arguments]
        self.proxy = self.start(self.row.name, [self.programs[self.row.name], *arguments])
        self.wait_ready()

    @property
    def conf(self):
        return self.directory / self.row.conf

    def write(self):
        watch = self.row.watch[0 if self.watched else 1]
        servers = [self.row.server.format(name=one.name, at=one.at, watch=watch) for one in self.endpoints]
        values = {"PORT": self.port, "DIR": self.directory, "TRY": TRY, "BALANCE": self.balance,
                  "SERVERS": "\n".join(servers), "LOADED": self.loaded}
        new = self.conf.with_suffix(".new")
        text = chosen((CONF / self.row.conf).read_text(), self.watched)
        new.write_text(fill(text, values))
        new.rename(self.conf)

    def wait_ready(self):
        """Until all endpoints answer through the proxy."""
        deadline = time.monotonic() + READY_SECONDS
        clients = None
        while time.monotonic() < deadline and self.proxy.process.poll() is None:
            clients = clients or self.clients(8)
            time.sleep(0.1)
            clients.lap()
            if all(endpoint.requests() > 0 for endpoint in self.endpoints):
                self.load.remove(clients)
                clients.finish()
                return
        said = self.proxy.log.read_text(errors="replace")[-2000:]
        raise tools.ToolError(f"{self.row.name} does not serve:\n{said}")

    def start(self, name, command):
        running = Running(name, command, self.directory / f"{name}.log")
        self.running.append(running)
        return running

    def clients(self, connections, **more):
        clients = Clients(self.programs["bench-clients"], f"127.0.0.1:{self.port}", connections, self.directory,
                          preexec_fn=child(), **more)
        self.load.append(clients)
        return clients

    def reload(self):
        """Loads a configuration that says something else."""
        self.loaded += 1
        self.write()
        self.proxy.process.send_signal(self.row.reload)

    def __exit__(self, *_):
        for clients in self.load:
            clients.finish()
        for running in reversed(self.running):
            end(running.process)
        self.folder.cleanup()


def chosen(template, watched):
    """The template with the lines that are for watched servers, or with those for others."""
    kept, dropped = ("@WATCHED", "@ALONE  ") if watched else ("@ALONE  ", "@WATCHED")
    lines = (line.removeprefix(kept) for line in template.splitlines() if not line.startswith(dropped))
    return "\n".join(lines) + "\n"


def end(process):
    """SIGTERM first, so that a master ends its workers; what is stopped goes on to see it."""
    for sign in (signal.SIGCONT, signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(sign)
        if sign != signal.SIGCONT:
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                continue
