"""Slow but alive: peers that take or send little, pause, or only listen, beside those that hold a connection for nothing.

Every case runs at once, each on connections of its own. `--full` plays the real minutes with the defaults, about six
in all; the daily run plays the same faster, with times that are as much shorter.
"""

import select
import socket
import ssl
import struct
import threading
import time

from harness.clients import read_until
from harness.programs import free_port
from harness.story import Story, is_full
from harness.tls import Authority

# By how much everything is faster than in life, and rates higher.
FASTER = 1 if is_full() else 20

# What a slow case lasts, and a long pause; the longest that is allowed (`stream-idle`) is 300.
LASTS, PAUSE = 180 / FASTER, 240 / FASTER

# No case lasts longer when all is well; one that does has failed, and says so before the story as a whole is ended.
LONGEST = 400 if is_full() else 100

MB = 1_000_000
BODY = 24 * MB


def seconds(value):
    return f'"{round(value * 1000 / FASTER)}ms"'


class Origin:
    """Says what the path asks for: `/down/BYTES`, `/up`, `/up/RATE`, `/listen`, `/trickle`."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.at = "127.0.0.1:%d" % self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def stop(self):
        self.socket.close()

    def serve(self, connection):
        try:
            while True:
                head, rest = read_message(connection)
                path = head.split(b" ")[1].decode().split("/")[1:]
                getattr(self, path[0])(connection, head, rest, path[1:])
        except (OSError, ValueError, ConnectionError):
            connection.close()

    def down(self, connection, head, rest, words):
        left = int(words[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        while left:
            connection.sendall(bytes(min(left, 100_000)))
            left -= min(left, 100_000)

    def up(self, connection, head, rest, words):
        rate = int(words[0]) if words else None
        got = 0
        for piece in body(connection, head, rest, rate):
            got += len(piece)
        text = b"%d" % got
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def listen(self, connection, head, rest, words):
        """Events, seldom; what comes is taken beside, and may never end."""
        threading.Thread(target=drain, args=(connection,), daemon=True).start()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(9):
            connection.sendall(b"5\r\nevent\r\n")
            time.sleep(LASTS / 9)
        connection.sendall(b"0\r\n\r\n")
        time.sleep(1)
        raise ConnectionError

    def trickle(self, connection, head, rest, words):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(9):
            connection.sendall(b"x")
            time.sleep(LASTS / 9)
        connection.sendall(bytes(1_000_000 - 9))


def drain(connection):
    try:
        while connection.recv(65536):
            pass
    except OSError:
        pass


def read_message(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def body(connection, head, rest, rate=None):
    """The pieces of a request's body."""
    lower = head.lower()
    if b"content-length:" in lower:
        left = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        while left:
            piece = rest or connection.recv(min(left, 65536 if rate is None else max(rate // 4, 1)))
            rest = b""
            if not piece:
                raise ConnectionError
            left -= len(piece)
            yield piece
            if rate is not None:
                time.sleep(len(piece) / rate)
        return
    while True:
        while b"\r\n" not in rest:
            rest += receive(connection)
        size, _, rest = rest.partition(b"\r\n")
        size = int(size, 16)
        while len(rest) < size + 2:
            rest += receive(connection)
        yield rest[:size]
        rest = rest[size + 2 :]
        if size == 0:
            return


def receive(connection):
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionError
    return piece


# Clients. Each way knows how to ask and how to count what has come of a body.


class Plain:
    """HTTP/1.1 over a connection; `prefix` makes the absolute form of a forward client."""

    def __init__(self, at, context=None, prefix="", narrow=False):
        self.socket = opened(at, narrow)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="a.test")
        self.prefix, self.got, self.length, self.data = prefix, 0, None, b""
        self.host = prefix.removeprefix("http://").encode() or b"a.test"

    def get(self, path):
        request = b"GET %s%s HTTP/1.1\r\nHost: %s\r\n\r\n"
        self.socket.sendall(request % (self.prefix.encode(), path.encode(), self.host))

    def post(self, path, length=None):
        how = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self.chunked = length is None
        request = b"POST %s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n"
        self.socket.sendall(request % (self.prefix.encode(), path.encode(), self.host, how))

    def send(self, data, end=False):
        if self.chunked:
            data = (b"%x\r\n%s\r\n" % (len(data), data) if data else b"") + (b"0\r\n\r\n" if end else b"")
        self.socket.sendall(data)

    def take(self, most=65536):
        """Reads once; False at the end."""
        piece = self.socket.recv(most)
        if self.length is None:
            self.data += piece
            if b"\r\n\r\n" not in self.data:
                return bool(piece)
            head, _, piece = self.data.partition(b"\r\n\r\n")
            self.status = int(head[9:12])
            lower = head.lower()
            chunked = b"content-length:" not in lower
            self.length = -1 if chunked else int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            self.got, self.data = len(piece), piece[-64:]
            return True
        self.got += len(piece)
        self.data = (self.data + piece)[-64:]
        return bool(piece)

    def is_whole(self):
        if self.length is None:
            return False
        return self.data.endswith(b"0\r\n\r\n") if self.length < 0 else self.got == self.length

    def __str__(self):
        return f"{self.got} of {self.length}"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Framed:
    """HTTP/2 with windows as large as a browser's, so that what it does not read lies in the kernel."""

    def __init__(self, at, context=None, narrow=False, window=1 << 30):
        self.socket = opened(at, narrow)
        self.scheme = b"http"
        if context is not None:
            self.socket, self.scheme = context.wrap_socket(self.socket, server_hostname="a.test"), b"https"
        self.got, self.data, self.ended, self.why, self.status, self.lock = 0, b"", False, "", 0, threading.Lock()
        self.windows, self.initial = [65535, 65535], 65535  # of the connection, of the stream
        settings = struct.pack(">HI", 4, window)
        self.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, settings) + frame(8, 0, 0, struct.pack(">I", 1 << 30)))

    def write(self, data):
        with self.lock:
            self.socket.sendall(data)

    def head(self, method, path, end, more=()):
        fields = [(b":method", method), (b":scheme", self.scheme), (b":path", path.encode()), (b":authority", b"a.test")]
        block = b"".join(bytes([0, len(k)]) + k + bytes([len(v)]) + v for k, v in [*fields, *more])
        self.write(frame(1, 4 | end, 1, block))

    def get(self, path):
        self.head(b"GET", path, 1)

    def post(self, path, length=None):
        grpc = ((b"content-type", b"application/grpc"), (b"te", b"trailers")) if path == "/listen" else ()
        self.head(b"POST", path, 0, grpc)

    def send(self, data, end=False):
        while True:
            while data and min(self.windows) <= 0:
                assert self.take(), "ended while it was sent to"
            count = min(len(data), 16_000, *self.windows) if data else 0
            piece, data = data[:count], data[count:]
            self.windows = [window - count for window in self.windows]
            self.write(frame(0, 1 if end and not data else 0, 1, piece))
            if not data:
                return

    def take(self, most=65536):
        piece = self.socket.recv(most)
        self.data += piece
        while len(self.data) >= 9 and len(self.data) >= 9 + (size := int.from_bytes(self.data[:3], "big")):
            kind, flags, payload = self.data[3], self.data[4], self.data[9 : 9 + size]
            stream = int.from_bytes(self.data[5:9], "big")
            self.data = self.data[9 + size :]
            if kind == 0:
                self.got += size
            if kind in (0, 1) and flags & 1:
                self.ended = True
            if kind == 1:
                self.status = 200 if payload[:1] == b"\x88" or b"200" in payload else 1
            if kind == 8:
                self.windows[1 if stream else 0] += int.from_bytes(payload, "big")
            if kind == 4 and not flags & 1:
                for at in range(0, size, 6):
                    if payload[at : at + 2] == b"\0\4":
                        value = int.from_bytes(payload[at + 2 : at + 6], "big")
                        self.windows[1] += value - self.initial
                        self.initial = value
                self.write(frame(4, 1, 0))
            if kind == 6 and not flags & 1:
                self.write(frame(6, 1, 0, payload))
            if kind in (3, 7):
                self.why += f" frame {kind}: {payload[-4:].hex()}"
                if kind == 3:
                    return False
        return bool(piece)

    def is_whole(self):
        return self.ended

    def __str__(self):
        return f"{self.got}{self.why}"


def opened(at, narrow):
    host, _, port = at.rpartition(":")
    connection = socket.socket()
    if narrow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(LONGEST)
    connection.connect((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# What clients do. Each answers nothing if all went well, or how it ended.


def rest(client):
    while not client.is_whole():
        if not client.take(1 << 18):
            return f"ended early: {client}"
    return None


def steady(client, size, rate, lasts):
    """Takes so many bytes a second for a while, then the rest as fast as it comes."""
    client.get(f"/down/{size}")
    until, taken, began = time.monotonic() + lasts, 0, time.monotonic()
    while time.monotonic() < until and not client.is_whole():
        if not client.take(max(min(rate // 4, 65536), 1)):
            return f"ended after {time.monotonic() - began:.0f} s: {client}"
        taken += max(min(rate // 4, 65536), 1)
        time.sleep(max(0, began + taken / rate - time.monotonic()))
    return rest(client)


def pausing(client, size, before, pause):
    """Takes some, nothing for a while, then the rest."""
    client.get(f"/down/{size}")
    while client.got < before:
        if not client.take():
            return f"ended early: {client}"
    time.sleep(pause)
    return rest(client)


def uploading(client, path, rate, lasts, length):
    """Sends so many bytes a second for a while, then the rest at once."""
    client.post(path, length)
    sent, began = 0, time.monotonic()
    while time.monotonic() - began < lasts and sent < length:
        piece = min(max(rate // 4, 1), length - sent)
        client.send(bytes(piece))
        sent += piece
        time.sleep(0.25)
    client.send(bytes(length - sent), True)
    return answered(client, length)


def stopping(client, path, before, pause, length):
    """Sends some, nothing for a while, then the rest."""
    client.post(path, length)
    client.send(bytes(before))
    time.sleep(pause)
    client.send(bytes(length - before), True)
    return answered(client, length)


def answered(client, length):
    why = rest(client)
    return why or (None if client.got == len(str(length)) and client.status == 200 else f"status {client.status}, {client}")


def listening(client, words):
    """A stream whose client says little or nothing while it listens."""
    client.post("/listen")
    client.send(b"\0\0\0\0\5hello")
    done = threading.Event()

    def say():
        while not done.wait(LASTS / 20):
            try:
                client.send(b"\0\0\0\0\1x")
            except OSError:
                return

    if words:
        threading.Thread(target=say, daemon=True).start()
    why = rest(client)
    done.set()
    return why


def tunnelled(at, origin, what):
    """Through CONNECT, to an origin in clear; `what` is done over it."""
    client = Plain(at)
    client.socket.sendall(b"CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (origin.encode(), origin.encode()))
    read_until(client.socket, b"\r\n\r\n")
    return what(client)


def half_closed(client):
    client.get("/trickle")
    client.socket.shutdown(socket.SHUT_WR)
    return rest(client)


# Hostile ones. Each answers after how long it was cut.


def cut_after(connection, nudge=None, every=1.0, most=LONGEST):
    """Waits until the other side has had enough; `nudge` is done now and then."""
    began = time.monotonic()
    poll = select.poll()
    poll.register(connection, select.POLLHUP | select.POLLERR | 0x2000)  # POLLRDHUP
    while time.monotonic() - began < most:
        if poll.poll(every * 1000):
            break
        if nudge:
            try:
                if nudge() is False:
                    break
            except OSError:
                break
    return time.monotonic() - began


class Patience(Story):
    def setUp(self):
        super().setUp()
        self.origin = Origin()
        self.addCleanup(self.origin.stop)
        authority = Authority(self.directory)
        pair = authority.issue("server", "a.test")
        self.contexts = {None: None, "h1": authority.context("http/1.1"), "h2": authority.context("h2")}
        ports = [f"127.0.0.1:{free_port()}" for _ in range(4)]
        self.clear, self.secure, self.forward, self.strict = ports
        self.proxy = self.bothways(f"""
timeouts {{
    head {seconds(10)}; client-idle {seconds(60)}; first-byte {seconds(60)}; stream-idle {seconds(300)}
    tunnel-idle {seconds(300)}; slow-rate {500 * FASTER}
}}
site "*" {{ listen "{self.clear}"; to "{self.origin.at}"; }}
site "*" {{ listen "{self.secure}"; tls {pair.kdl}; to "{self.origin.at}"; }}
listen "{self.strict}" {{ timeouts {{ client-idle {seconds(20)}; }} }}
site "*" {{ listen "{self.strict}"; timeouts {{ stream-idle {seconds(60)}; }}; to "{self.origin.at}"; }}
forward "{self.forward}" {{ allow to="127.0.0.1" port="{self.origin.at.rpartition(":")[2]}"; }}
""")
        self.told, self.lock = [], threading.Lock()

    def ways(self, narrow=False):
        return {
            "h1": lambda: Plain(self.clear, narrow=narrow),
            "h1 tls": lambda: Plain(self.secure, self.contexts["h1"], narrow=narrow),
            "h2": lambda: Framed(self.clear, narrow=narrow),
            "h2 tls": lambda: Framed(self.secure, self.contexts["h2"], narrow=narrow),
            "forward": lambda: Plain(self.forward, prefix=f"http://{self.origin.at}", narrow=narrow),
        }

    def case(self, name, play, limit=None):
        def run():
            began = time.monotonic()
            try:
                why = play()
            except (OSError, ssl.SSLError, ValueError) as error:
                why = f"{type(error).__name__} after {time.monotonic() - began:.0f} s: {error}"
            self.tell(name, time.monotonic() - began, why, limit)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def honest(self):
        for rate in (2_000, 10_000, 50_000, 200_000):
            rate *= FASTER
            for way, client in self.ways().items():
                if not is_full() and rate == 200_000 * FASTER:
                    continue
                size = BODY if rate < 1 * MB else 2 * BODY
                yield f"{way}: takes {rate // 1000} kB/s", lambda c=client, r=rate, s=size: steady(c(), s, r, LASTS)
                if way != "h2 tls":
                    length = int(rate * LASTS) + 100_000
                    yield (f"{way}: sends {rate // 1000} kB/s",
                           lambda c=client, r=rate, n=length: uploading(c(), "/up", r, LASTS, n))
        for way, client in self.ways().items():
            for pause in (45 / FASTER, PAUSE):
                yield f"{way}: takes 200 kB, pauses {pause:.0f} s", lambda c=client, p=pause: pausing(c(), BODY, 200_000, p)
                yield (f"{way}: sends 200 kB, pauses {pause:.0f} s",
                       lambda c=client, p=pause: stopping(c(), "/up", 200_000, p, 500_000))
            for size in (1, 3, 4):
                size *= MB
                yield f"{way}: {size // MB} MB not read for 75 s", lambda c=client, s=size: pausing(c(), s, 0, 75 / FASTER)
                yield f"{way}: {size // MB} MB not read for 240 s", lambda c=client, s=size: pausing(c(), s, 0, PAUSE)
            yield (f"{way}: 3 MB at 30 kB/s",
                   lambda c=client: steady(c(), 3 * MB, 30_000 * FASTER, 600 / FASTER))
            for words in (False, True):
                yield f"{way}: listens, talks: {words}", lambda c=client, w=words: listening(c(), w)
            yield (f"{way}: 8 MB to an origin that takes 40 kB/s",
                   lambda c=client: uploading(c(), f"/up/{40_000 * FASTER}", 8 * MB * 4, 1, 8 * MB))
        for way, client in self.ways(narrow=True).items():
            yield f"{way}, narrow: pauses at once", lambda c=client: pausing(c(), BODY, 0, PAUSE)
            yield f"{way}, narrow: takes 2 kB/s", lambda c=client: steady(c(), BODY, 2_000 * FASTER, LASTS)
        yield "tunnel: takes 2 kB/s", lambda: tunnelled(
            self.forward, self.origin.at, lambda c: steady(c, BODY, 2_000 * FASTER, LASTS))
        yield "tunnel: pauses", lambda: tunnelled(
            self.forward, self.origin.at, lambda c: pausing(c, BODY, 100_000, PAUSE))
        yield "tunnel: half closed", lambda: tunnelled(self.forward, self.origin.at, half_closed)
        yield "tunnel: sends 2 kB/s", lambda: tunnelled(
            self.forward, self.origin.at, lambda c: uploading(c, "/up", 2_000 * FASTER, LASTS, 2_000 * int(LASTS) * FASTER + 9))

    def hostile(self):
        """With the time within which each must be cut."""
        plain, framed = (lambda **m: Plain(self.strict, **m)), (lambda **m: Framed(self.strict, **m))

        def asks(client, path):
            client.get(path)
            return client

        def never(client, **more):
            return cut_after(asks(client, f"/down/{2 * BODY}").socket, **more)

        def little(client):
            asks(client, f"/down/{2 * BODY}")
            return cut_after(client.socket, lambda: client.take(1), every=20 / FASTER)

        def dripping(client, gap):
            client.post("/up", 100_000)
            return cut_after(client.socket, lambda: client.send(b"x"), every=gap)

        def silent(client, before):
            client.post("/up", 100_000)
            client.send(bytes(before))
            return cut_after(client.socket)

        def tail(client):
            """Leaves an answer where it is, when all of it fits into the kernel, or nearly."""
            return cut_after(asks(client, f"/down/{2 * MB}").socket)

        def stalled():
            """A stream without a window: it is reset, by 60 s without a byte."""
            client, began = Framed(self.strict, window=0), time.monotonic()
            client.get(f"/down/{BODY}")
            while client.take():
                pass
            return time.monotonic() - began

        yield "h1 never reads", 60 + 35, lambda: never(plain())
        yield "h1 narrow, never reads", 60 + 35, lambda: never(plain(narrow=True))
        # First the stream is cut, then the connection, on which nothing is under way any more.
        yield "h2 never reads", 60 + 15 + 20 + 60 + 30, lambda: never(framed())
        yield "h1 narrow, a byte each 20 s", 60 + 90, lambda: little(plain(narrow=True))
        yield "h1 leaves its answer", 20 + 60 + 35, lambda: tail(plain())
        # Where the kernel did not take all of it: as above.
        yield "h2 leaves its answer", 60 + 15 + 20 + 60 + 30, lambda: tail(framed())
        yield "h2 stream without window", 60 + 20, stalled
        # The time before `slow-rate` is asked is as long as ever.
        yield "h1 sends a byte a second", 25 * FASTER, lambda: dripping(plain(), 1 / FASTER)
        yield "h1 sends nothing", 60 + 5, lambda: silent(plain(), 0)
        yield "h1 sends 5 kB and stops", 60 + 5, lambda: silent(plain(), 5_000)

    def test_slow_but_alive(self):
        began = time.monotonic()
        threads = [self.case(name, play) for name, play in self.honest()]
        threads += [self.case(name, play, limit / FASTER + 2) for name, limit, play in self.hostile()]
        for thread in threads:
            thread.join(max(0, began + LONGEST + 60 - time.monotonic()))
        alive = [thread.name for thread in threads if thread.is_alive()]
        self.assertFalse(alive, "these never ended")
        wrong = [line for right, line in self.told if not right]
        self.assertFalse(wrong, "\n".join(["", *wrong]))

    def tell(self, name, took, why, limit):
        """Prints a line of the table."""
        if limit is None:
            right, line = why is None, f"honest   {name:45} {took:6.1f} s {why or ''}"
        else:
            right = isinstance(why, float) and why <= limit
            after = f"after {why:.1f} s" if isinstance(why, float) else why
            line = f"hostile  {name:45} cut {after}, at most {limit:.0f} s"
        line = f"{'ok' if right else 'WRONG':6} {line}"
        with self.lock:
            self.told.append((right, line))
            print(line, flush=True)
