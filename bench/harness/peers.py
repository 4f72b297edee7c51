"""The origin and the proxies: how each is configured, started, found ready, and stopped."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import tools

CONF = tools.BENCH / "peers-conf"
# Below the ephemeral ports, so that no client's connection sits on a port that a peer wants.
PORTS = range(21000, 30000)
OPEN_FILES_WANTED = 65536
MARKS = {"@TLS  ": True, "@CLEAR": False}
READY_SECONDS = 10
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Proxy:
    """A row of the table of proxies."""

    name: str
    program: str
    # Where the configuration comes from, and the arguments; `{conf}` and others are filled in.
    conf: str | None
    arguments: tuple
    reverse: bool = False
    forward: bool = False
    logs: bool = False
    tls: bool = False
    # It ends a connection with each response, without `Connection: close`; wrk would call it an error.
    closes: bool = False


PROXIES = [
    Proxy("relay", "bench-relay", None, ("--listen", "127.0.0.1:{port}", "--to", "127.0.0.1:{origin}"),
          reverse=True, forward=True),
    Proxy("nginx", "nginx", "nginx.conf", ("-p", "{dir}", "-c", "{conf}"), reverse=True, tls=True),
    Proxy("haproxy", "haproxy", "haproxy.cfg", ("-db", "-f", "{conf}"), reverse=True, tls=True),
    Proxy("envoy", "envoy", "envoy.yaml",
          ("-c", "{conf}", "--concurrency", "1", "--disable-hot-restart", "-l", "error"), reverse=True,
          tls=True),
    Proxy("squid", "squid", "squid.conf", ("-N", "-f", "{conf}"), forward=True),
    Proxy("tinyproxy", "tinyproxy", "tinyproxy.conf", ("-d", "-c", "{conf}"), forward=True,
          closes=True),
    Proxy("bothways", "bothways", "bothways.kdl", ("run", "--config", "{conf}"),
          reverse=True, forward=True, tls=True),
    Proxy("bothways-logs", "bothways", "bothways.kdl", ("run", "--config", "{conf}"),
          reverse=True, forward=True, tls=True, logs=True),
]


def raise_open_files():
    """Gives us and all that we start as many descriptors as can be had; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(OPEN_FILES_WANTED, hard), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            continue
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_max(open_files):
    """Two descriptors for each connection through a proxy, and some for itself."""
    return (open_files - 1000) // 2


def fill(template, values, tls=False):
    """Puts the values in place of every @NAME@ of a template.

    Lines marked by @TLS and two spaces are there over TLS only, those by @CLEAR in clear only.
    """
    lines = []
    for line in template.splitlines():
        mark, rest = next(((m, line[len(m):]) for m in MARKS if line.startswith(m)), (None, line))
        if mark is None or MARKS[mark] == tls:
            lines.append(rest)
    template = "\n".join(lines) + "\n"
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    return template


CERTIFICATE_FILES = {"CERT": "cert.pem", "KEY": "key.pem", "PAIR": "pair.pem", "OPENSSL": "openssl.cnf"}

# One suite and one key exchange for all, whatever a proxy would prefer: the clients offer no others.
SUITE = "TLS_AES_256_GCM_SHA384"
OPENSSL_CONFIGURATION = f"""
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
MinProtocol = TLSv1.3
Ciphersuites = {SUITE}
Groups = X25519
"""


def make_certificate(directory):
    """Writes those files."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
               "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        raise tools.ToolError(f"openssl makes no certificate:\n{done.stderr}")
    pair = (directory / "cert.pem").read_text() + (directory / "key.pem").read_text()
    (directory / "pair.pem").write_text(pair)
    (directory / "openssl.cnf").write_text(OPENSSL_CONFIGURATION)


def free_port(taken=frozenset()):
    for port in PORTS:
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise tools.ToolError("no free port")


def child(core=None):
    """What a child does before it becomes its program: stay on `core`, if that is said, and never outlive us."""
    libc = ctypes.CDLL(None)

    def prepare():
        if core is not None:
            os.sched_setaffinity(0, {core})
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    return prepare


class Peer:
    """A running program of ours that listens on a port."""

    def __init__(self, name, command, port, core, log):
        self.name, self.port, self.log = name, port, Path(log)
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                preexec_fn=child(core),
            )
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        said = self.log.read_text(errors="replace")[-2000:]
        raise tools.ToolError(f"{self.name} does not answer on port {self.port}:\n{said}")

    def stop(self):
        """SIGINT where SIGTERM means to wait for connections; then, when it takes long, SIGKILL."""
        for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            if self.process.poll() is not None:
                return
            self.process.send_signal(sign)
            try:
                self.process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                continue


class Peers:
    """Starts peers with the same directory, limits and cores, and stops them all at the end."""

    def __init__(self, programs, directory, open_files, proxy_core, load_core):
        self.programs, self.directory = programs, Path(directory)
        self.open_files, self.proxy_core, self.load_core = open_files, proxy_core, load_core
        self.running = []
        self.origin = None

    def __enter__(self):
        port = free_port()
        command = [self.programs["bench-origin"], "--listen", f"127.0.0.1:{port}"]
        self.origin = self.start("origin", command, port, self.load_core)
        return self

    def __exit__(self, *_):
        for peer in reversed(self.running):
            peer.stop()

    def start(self, name, command, port, core):
        peer = Peer(name, command, port, core, self.directory / f"{name}.log")
        self.running.append(peer)
        return peer

    def certificate(self):
        """A P-256 key and its certificate, and the configuration of OpenSSL for wrk: made once."""
        if not (self.directory / "pair.pem").exists():
            make_certificate(self.directory)
        return {name: self.directory / file for name, file in CERTIFICATE_FILES.items()}

    def proxy(self, row, forward=False, tls=False):
        """Starts a proxy of the table, in reverse before the origin or as a forward proxy."""
        port = free_port({peer.port for peer in self.running})
        name = row.name + ("-forward" if forward else "-tls" if tls else "")
        values = {
            "PORT": port,
            "ORIGIN": self.origin.port,
            "DIR": self.directory,
            "NOFILE": self.open_files,
            "CONNECTIONS": connections_max(self.open_files),
            "ACCESS": f'"{self.directory}/{name}.access" format=json' if row.logs else "off",
        }
        if tls:
            values |= self.certificate()
        conf = None
        if row.conf:
            template = row.conf
            if forward and row.reverse:
                template = template.replace(".", "-forward.")
            conf = self.directory / f"{name}-{template}"
            conf.write_text(fill((CONF / template).read_text(), values, tls))
        arguments = [
            argument.format(conf=conf, dir=self.directory, port=port, origin=self.origin.port)
            for argument in row.arguments
        ]
        return self.start(name, [self.programs[row.program], *arguments], port, self.proxy_core)

    def stop(self, peer):
        peer.stop()
        self.running.remove(peer)
