"""The load generators, and what they say; and the check that a proxy answers rightly at all."""

import http.client
import math
import os
import re
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field

from . import tools
from .peers import SUITE, child

WRK_ERRORS = ("connect", "read", "write", "status", "timeout")
BODY = b"0123456789abcdef"


class LoadError(Exception):
    """A wrong answer, or a load generator that failed."""


@dataclass
class Told:
    """What a load generator said about one run."""

    p99_ms: float | None = None
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    errors: dict = field(default_factory=dict)


def parse_wrk(output):
    """The line that our script prints at the end of a run."""
    line = next((line for line in output.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise LoadError(f"wrk said nothing of its result:\n{output}")
    told = {name: int(value) for name, value in (word.split("=") for word in line.split()[1:])}
    return Told(
        p99_ms=told["p99"] / 1000,
        bytes=told["bytes"],
        requests=told["requests"],
        seconds=told["microseconds"] / 1e6,
        errors={name: told[name] for name in WRK_ERRORS if told[name]},
    )


def parse_end(line):
    """`end BYTES RESPONSES NANOSECONDS P99_MICROSECONDS` of bench-load."""
    words = line.split()
    if len(words) != 5 or words[0] != "end":
        raise LoadError(f"bench-load said `{line.strip()}`")
    size, responses, nanoseconds, p99 = (int(word) for word in words[1:])
    return Told(
        p99_ms=p99 / 1000 if responses else None,
        bytes=size, requests=responses, seconds=nanoseconds / 1e9,
    )


class Wrk:
    """A run of wrk that outlasts the time which is measured by a little."""

    def __init__(self, programs, core, port, connections, seconds, target, fields=(), openssl=None):
        """`openssl`: the configuration of OpenSSL, where wrk shall speak TLS."""
        scheme, environment = ("https", os.environ | {"OPENSSL_CONF": str(openssl)}) if openssl else ("http", None)
        # wrk takes whole seconds; what is more than needed goes to the end.
        self.process = subprocess.Popen(
            [programs["wrk"], "-t1", f"-c{connections}", f"-d{math.ceil(seconds + 0.2)}s", "--timeout",
             "10s", "-s", str(tools.BENCH / "harness/wrk.lua"), f"{scheme}://127.0.0.1:{port}/", "--",
             target, *fields],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=child(core), env=environment,
        )

    @property
    def pid(self):
        return self.process.pid

    def finish(self):
        output, _ = self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise LoadError(f"wrk failed:\n{output}")
        return parse_wrk(output)


def parse_h2load(output):
    """The summary that h2load prints; it tells no percentiles."""
    counts = re.search(
        r"requests: \d+ total, .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output
    )
    traffic = re.search(r"traffic: \S+ \((\d+)\) total", output)
    if counts is None or traffic is None:
        raise LoadError(f"h2load said nothing of its result:\n{output}")
    requests, *errors = map(int, counts.groups())
    named = zip(("failed", "errored", "timeout"), errors)
    return Told(
        bytes=int(traffic[1]), requests=requests, errors={name: count for name, count in named if count}
    )


class H2load:
    """A run of h2load: HTTP/2 over TLS with so many `streams` on each connection; without that HTTP/1.1
    in clear, a second opinion on wrk's small requests."""

    def __init__(self, programs, core, port, connections, seconds, target, streams=None):
        self.process = subprocess.Popen(
            [programs["h2load"], *h2load_arguments(port, target, streams), "-t1", f"-c{connections}",
             "-D", f"{math.ceil(seconds + 0.2)}s", "--warm-up-time=0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=child(core),
        )

    @property
    def pid(self):
        return self.process.pid

    def finish(self):
        output, _ = self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise LoadError(f"h2load failed:\n{output}")
        return parse_h2load(output)


def h2load_arguments(port, target, streams):
    """The protocol, and the URI at the end."""
    if streams is None:
        return ["--h1", f"http://127.0.0.1:{port}{target}"]
    return [f"-m{streams}", f"--tls13-ciphers={SUITE}", "--groups=X25519", f"https://127.0.0.1:{port}{target}"]


def verify_http2(programs, port, target, body_bytes, requests=4):
    """So many requests on one connection: HTTP/2, 200, and as many bytes as the origin has."""
    arguments = h2load_arguments(port, target, streams=2)
    done = subprocess.run([programs["h2load"], "-c1", f"-n{requests}", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    told = parse_h2load(done.stdout)
    said = dict(re.findall(r"^(Application protocol|TLS Protocol|Cipher|status codes): (.*)$", done.stdout, re.M))
    spoken = (said.get("Application protocol"), said.get("Cipher"))
    if spoken != ("h2", SUITE):
        raise LoadError(f"h2load and the proxy agreed on {spoken}, not on h2 with {SUITE}")
    data = re.search(r"\((\d+)\) data", done.stdout)
    found = (told.requests, told.errors, said["status codes"].split()[0], int(data[1]) if data else None)
    if found != (requests, {}, str(requests), requests * body_bytes):
        raise LoadError(f"{target} was answered wrongly over HTTP/2:\n{done.stdout}")


class BenchLoad:
    """A run of bench-load or one like it, which tells when the measured time starts and ends."""

    def __init__(self, programs, core, arguments, program="bench-load"):
        self.name = program
        self.process = subprocess.Popen(
            [programs[program], *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=child(core),
        )

    @property
    def pid(self):
        return self.process.pid

    def wait_start(self):
        if self.process.stdout.readline().strip() != "start":
            raise LoadError(f"{self.name} failed: {self.process.communicate()[1].strip()}")

    def wait_end(self):
        line = self.process.stdout.readline()
        if not line:
            raise LoadError(f"{self.name} failed: {self.process.communicate()[1].strip()}")
        return parse_end(line)

    def finish(self):
        self.process.communicate(timeout=20)


class Idle:
    """Many connections that have served one request each; held until `close`."""

    def __init__(self, programs, core, port, connections, tls=False):
        self.process = subprocess.Popen(
            [programs["bench-idle"], "--to", f"127.0.0.1:{port}", "--connections", str(connections),
             *(["--tls"] if tls else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=child(core),
        )
        line = self.process.stdout.readline()
        if line.split() != ["ready", str(connections)]:
            raise LoadError(f"bench-idle failed: {line}{self.process.communicate()[1].strip()}")

    def close(self):
        self.process.communicate(timeout=60)


class Counter:
    """Asks the origin, on one connection, how many requests it has answered."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self):
        self.connection.request("GET", "/-/requests")
        return int(self.connection.getresponse().read())


def connection_to(port, tls):
    """A connection that believes the proxy whatever certificate it shows."""
    if not tls:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)


def verify(port, target, body_bytes, fields, closes=False, tls=False):
    """Two requests must be answered with 200 and exactly the origin's body.

    On one connection, unless it is known that the proxy `closes` it.
    """
    connection = connection_to(port, tls)
    for _ in range(2):
        if closes:
            connection.close()
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise LoadError(f"{target} was answered {answer.status} {answer.reason}")
        if len(body) != body_bytes or body != BODY * (body_bytes // len(BODY)):
            raise LoadError(f"{target} came with {len(body)} bytes of body, not its {body_bytes}")
    connection.close()


def settle(seconds=0.3):
    """Lets the connections of the last run be closed before the next begins."""
    time.sleep(seconds)
