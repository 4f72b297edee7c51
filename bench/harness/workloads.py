"""The table of workloads, and how one round of each kind is measured."""

import time
from dataclasses import asdict, dataclass, field

from . import load, measure

MIB = 1024 * 1024
WARM_SECONDS = 0.6
IDLE_WARM_SECONDS = 1
IDLE_SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Workload:
    """A row of the table of workloads."""

    name: str
    title: str
    # http: wrk, per request. bodies: bench-load, per request. bulk: bench-load, per MiB.
    # h2: h2load, per request. handshakes: bench-handshakes, per handshake.
    # idle: bench-idle, bytes per connection.
    kind: str
    connections: int
    path: str = "/small"
    body_bytes: int = 128
    forward: bool = False
    tls: bool = False
    # At a time on each connection, in HTTP/2.
    streams: int | None = None
    close: bool = False
    # The proxies that one compares with, and how much of their price Bothways may have.
    goals: dict = field(default_factory=dict)
    # A bound on the value itself.
    limit: float | None = None

    @property
    def unit(self):
        other = {"bulk": "CPU µs/MiB", "idle": "B/connection", "handshakes": "CPU µs/handshake"}
        return other.get(self.kind, "CPU µs/request")

    def takes(self, row):
        """Whether a proxy of the table can do this."""
        return (row.forward if self.forward else row.reverse) and (row.tls or not self.tls)


WORKLOADS = [
    Workload("small-1", "128 B, 1 keep-alive connection", "http", 1, goals={"nginx": None, "relay": None}),
    Workload("small-64", "128 B, 64 keep-alive connections", "http", 64,
             goals={"nginx": 0.85, "relay": 1.08}),
    Workload("small-1000", "128 B, 1000 keep-alive connections", "http", 1000,
             goals={"nginx": 0.65, "relay": None}),
    Workload("body-64k", "64 KiB, 64 connections", "bodies", 64, "/64k", 64 * 1024,
             goals={"nginx": None, "haproxy": 0.8, "relay": None}),
    Workload("body-1m", "1 MiB, 16 connections", "bodies", 16, "/1m", MIB,
             goals={"nginx": None, "envoy": 0.9, "relay": None}),
    Workload("connect-per-request", "128 B, a new connection for each request, 64 at a time", "http", 64,
             close=True, goals={"nginx": 0.9, "relay": None}),
    Workload("forward-get", "forward proxy, GET of 128 B, 64 connections", "http", 64, forward=True,
             goals={"squid": 0.3, "relay": None}),
    Workload("tunnel-bulk", "forward proxy, CONNECT, 1 MiB at a time through 8 tunnels", "bulk", 8, "/1m", MIB,
             forward=True, goals={"squid": 0.5, "relay": None}),
    Workload("idle-memory", "memory of an idle connection that has served one request", "idle", 10000,
             goals={"nginx": None}, limit=1.5 * 1024),
    Workload("tls-small", "TLS 1.3, 128 B, 64 keep-alive connections", "http", 64, tls=True,
             goals={"nginx": 0.9, "haproxy": None}),
    Workload("tls-handshakes", "TLS 1.3, full handshakes with ECDSA P-256, 32 at a time", "handshakes", 32,
             tls=True, goals={"nginx": 0.7, "haproxy": None}),
    Workload("tls-1m", "TLS 1.3, 1 MiB, 16 connections", "bodies", 16, "/1m", MIB, tls=True,
             goals={"nginx": None, "envoy": 0.9}),
    Workload("h2-small", "HTTP/2 over TLS, 128 B, 8 connections with 32 streams each", "h2", 8, tls=True,
             streams=32, goals={"nginx": 0.7, "haproxy": 0.85}),
    Workload("tls-idle-memory", "memory of an idle TLS connection that has served one request", "idle", 10000,
             tls=True, goals={"nginx": None}, limit=12 * 1024),
]


@dataclass
class Round:
    """What one proxy cost in one round. Times are CPU time, per request or MiB."""

    value: float
    user: float | None = None
    system: float | None = None
    rate: float | None = None
    p99_ms: float | None = None
    # How busy the proxy kept its core, and what origin and load generator cost beside it.
    busy: float | None = None
    origin: float | None = None
    load: float | None = None
    # Memory in all, where memory is what is measured.
    total_bytes: int | None = None
    stolen: float | None = None
    errors: dict = field(default_factory=dict)

    def record(self):
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}


class Bench:
    """All that a round needs to know beside its workload and its proxy."""

    def __init__(self, peers, seconds, idle_connections, h2load=False):
        self.peers, self.seconds, self.idle_connections = peers, seconds, idle_connections
        self.h2load = h2load
        self.counter = load.Counter(peers.origin.port)

    def target(self, workload):
        authority = f"127.0.0.1:{self.peers.origin.port}"
        return f"http://{authority}{workload.path}" if workload.forward else workload.path

    def fields(self, workload):
        fields = [("Host", f"127.0.0.1:{self.peers.origin.port}")]
        return fields + [("Connection", "close")] if workload.close else fields

    def verify(self, workload, row, peer):
        """The proxy answers this workload rightly before any of it is timed."""
        if workload.kind in ("bulk", "handshakes"):
            return  # the generator itself checks each CONNECT and each head, or each handshake
        if workload.streams:
            load.verify_http2(self.peers.programs, peer.port, self.target(workload), workload.body_bytes)
            return
        fields = [pair for pair in self.fields(workload) if pair[0] != "Connection"]
        load.verify(peer.port, self.target(workload), workload.body_bytes, fields, row.closes, workload.tls)

    def round(self, workload, row, peer):
        """One round of `workload` through a proxy that runs."""
        if workload.kind == "handshakes":
            return self.handshakes(workload, peer)
        if workload.kind in ("http", "h2") and not row.closes:
            return self.http(workload, peer)
        return self.counted(workload, row, peer)

    def http(self, workload, peer):
        common = (self.peers.programs, self.peers.load_core, peer.port, workload.connections,
                  WARM_SECONDS + self.seconds, self.target(workload))
        # h2load speaks neither to forward proxies nor once per connection.
        if workload.streams or (self.h2load and not (workload.forward or workload.close or workload.tls)):
            run = load.H2load(*common, workload.streams)
        else:
            fields = [f"{name}: {value}" for name, value in self.fields(workload)]
            run = load.Wrk(*common, fields, self.openssl(workload))
        time.sleep(WARM_SECONDS)
        window = Window(self.peers, peer, run.pid)
        before = self.counter.read()
        time.sleep(self.seconds)
        window.end()
        requests = self.counter.read() - before
        told = run.finish()
        if told.bytes < told.requests * workload.body_bytes:
            told.errors["missing-bytes"] = told.requests * workload.body_bytes - told.bytes
        if requests == 0:
            raise load.LoadError(f"no request reached the origin; the load counts {told.errors}")
        return window.round(requests, requests, told)

    def openssl(self, workload):
        return self.peers.certificate()["OPENSSL"] if workload.tls else None

    def handshakes(self, workload, peer):
        arguments = ["--to", f"127.0.0.1:{peer.port}", "--connections", workload.connections,
                     "--warm", WARM_SECONDS, "--seconds", self.seconds]
        window, told = self.windowed(peer, arguments, "bench-handshakes")
        if told.requests == 0:
            raise load.LoadError("no handshake came to its end")
        return window.round(told.requests, told.requests, told)

    def windowed(self, peer, arguments, program="bench-load"):
        """A load that tells itself when the time that counts begins and ends."""
        run = load.BenchLoad(self.peers.programs, self.peers.load_core, arguments, program)
        run.wait_start()
        window = Window(self.peers, peer, run.pid)
        told = run.wait_end()
        window.end()
        run.finish()
        return window, told

    def counted(self, workload, row, peer):
        arguments = [
            "--to", f"127.0.0.1:{peer.port}", "--origin", f"127.0.0.1:{self.peers.origin.port}",
            "--path", self.target(workload) if workload.kind == "http" else workload.path, "--connections", workload.connections,
            "--warm", WARM_SECONDS, "--seconds", self.seconds,
        ]
        if workload.tls:
            arguments.append("--tls")
        # A relay's tunnel is there as soon as the connection is.
        if workload.kind == "bulk" and row.name != "relay":
            arguments.append("--tunnel")
        if row.closes and workload.kind != "bulk":
            arguments.append("--reconnect")
        window, told = self.windowed(peer, arguments)
        if told.bytes == 0:
            raise load.LoadError("no bytes came through")
        units = told.bytes / MIB if workload.kind == "bulk" else told.requests
        return window.round(units, units, told)

    def idle(self, workload, row):
        """One round of the memory workload, which starts a fresh process of the proxy."""
        peer = self.peers.proxy(row, tls=workload.tls)
        try:
            warm = load.Wrk(self.peers.programs, self.peers.load_core, peer.port, 64,
                            IDLE_WARM_SECONDS - 0.2, "/small", [f"Host: 127.0.0.1:{peer.port}"],
                            self.openssl(workload))
            warm.finish()
            time.sleep(IDLE_SETTLE_SECONDS)
            before = measure.pss_bytes(measure.tree(peer.pid))
            idle = load.Idle(self.peers.programs, self.peers.load_core, peer.port, self.idle_connections,
                             workload.tls)
            time.sleep(IDLE_SETTLE_SECONDS)
            after = measure.pss_bytes(measure.tree(peer.pid))
            idle.close()
        finally:
            self.peers.stop(peer)
        return Round(value=(after - before) / self.idle_connections, total_bytes=after)


class Window:
    """The time that counts: CPU clocks at its start and its end."""

    def __init__(self, peers, peer, load_pid):
        self.core = peers.proxy_core
        self.pids = (measure.tree(peer.pid), [peers.origin.pid], [load_pid])
        self.ticks = measure.core_ticks(self.core)
        self.began = time.monotonic()
        self.cpu = [measure.cpu(pids) for pids in self.pids]

    def end(self):
        self.cpu = [measure.cpu(pids) - before for pids, before in zip(self.pids, self.cpu)]
        self.seconds = time.monotonic() - self.began
        self.ticks = [b - a for a, b in zip(self.ticks, measure.core_ticks(self.core))]

    def round(self, units, rate_units, told):
        proxy, origin, generator = self.cpu
        each = proxy.nanoseconds / 1000 / units
        share = proxy.user_share()
        return Round(
            value=each, user=each * share, system=each * (1 - share),
            rate=rate_units / self.seconds, p99_ms=told.p99_ms,
            busy=proxy.nanoseconds / 1e9 / self.seconds,
            origin=origin.nanoseconds / 1000 / units, load=generator.nanoseconds / 1000 / units,
            stolen=self.ticks[7] / (sum(self.ticks) or 1), errors=told.errors,
        )
