"""Large bodies in constant memory, at the pace of the slower side."""

import functools
import os
import re
import threading
import time

from harness.clients import connect, read_until, request
from harness.origins import SCRATCH, Scripted, flask, nginx, read_head, sink
from harness.programs import free_port, wait_until
from harness.story import Story, is_full

GIB = 1 << 30

# What the issue asks for when all is run; in the daily run as much as shows that nothing grows.
LARGE = 10 * GIB if is_full() else 2 * GIB

# How much the memory of the proxy may grow beyond what it was, at its peak, in KiB.
GROWTH_MAX = 4 * 1024


@functools.cache
def large():
    """A file of that size, without any block on the disk, and served by nginx."""
    path = nginx().www / "large"
    with open(path, "wb") as file:
        file.truncate(LARGE)
    return path


class Streams(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.out = f"127.0.0.1:{free_port()}"
        self.sink = Scripted(sink)
        self.addCleanup(self.sink.stop)
        self.large = large()
        self.proxy = self.bothways(f"""
process {{ cores 1; }}
site {{
    listen "{self.at}"
    route "/sink" {{ to "{self.sink.at}" }}
    route "/shop/*" {{
        strip-prefix "/shop"
        to "{flask().at}"
    }}
    to "{nginx().at}"
}}
forward "{self.out}" {{
    ports any
    allow to="127.0.0.1"
}}
""")
        # Once each way, so that what is only needed once is there already.
        request(self.at)
        request(self.at, "POST", "/sink", b"x" * 100_000)
        self.proxy.memory_reset()
        self.before, _ = self.proxy.memory()

    def memory_has_not_grown(self):
        _, peak = self.proxy.memory()
        self.assertLess(peak - self.before, GROWTH_MAX, f"from {self.before} to {peak} KiB")

    def download(self, url, *arguments):
        """Downloads with curl, which throws the bytes away; returns how many they were."""
        told = self.curl("-o", "/dev/null", "-w", "%{size_download} %{http_code}", "--max-time", "300", *arguments, url)
        size, status = told.out.split()
        self.assertEqual(status, "200")
        return int(size)

    def test_download(self):
        self.assertEqual(self.download(f"http://{self.at}/large"), LARGE)
        self.memory_has_not_grown()
        record = self.proxy.wait_for_record(target=f"http://{self.at}/large", status=200)
        self.assertEqual(record["response_body_bytes"], LARGE)

    def test_upload(self):
        for how in ([], ["-H", "Expect:"]):
            told = self.curl("-T", self.large, "--max-time", "300", *how, f"http://{self.at}/sink")
            self.assertEqual(told.out, str(LARGE))
        self.memory_has_not_grown()
        record = self.proxy.wait_for_record(method="PUT", status=200)
        self.assertEqual(record["request_body_bytes"], LARGE)

    def test_through_a_tunnel(self):
        self.assertEqual(self.download(f"http://{nginx().at}/large", "-p", "-x", self.out), LARGE)
        told = self.curl("-T", self.large, "-p", "-x", self.out, "--max-time", "300", f"http://{self.sink.at}/")
        self.assertEqual(told.out, str(LARGE))
        self.memory_has_not_grown()

    def test_forward_by_plain_http(self):
        self.assertEqual(self.download(f"http://{nginx().at}/large", "-x", self.out), LARGE)
        self.memory_has_not_grown()

    def test_chunks(self):
        """A length that nobody knows beforehand; every chunk is read and written anew."""
        pieces = LARGE // 16 // 1_000_000
        size = self.download(f"http://{self.at}/shop/stream?pieces={pieces}&size=1000000")
        self.assertEqual(size, pieces * 1_000_000)
        self.memory_has_not_grown()

    def test_a_client_that_does_not_read(self):
        """The origin is held back; the proxy does not take in what nobody takes off it."""
        sent = [0]

        def pours(connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            while True:
                connection.sendall(chunk)
                sent[0] += 1 << 20

        origin = Scripted(pours)
        self.addCleanup(origin.stop)
        self.proxy.rewrite(f'process {{ cores 1; }}\nsite {{ listen "{self.at}"; to "{origin.at}"; }}')
        self.assertEqual(self.proxy.reload()["msg"], "reloaded")
        with connect(self.at) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_until(client, b"\r\n\r\n")
            stalled = self.stalls(lambda: sent[0])
            self.memory_has_not_grown()
            # What the kernel holds in its buffers, and no more.
            self.assertLess(stalled, 40 << 20)
            # It goes on when the client does.
            left = stalled + (8 << 20)
            while left > 0:
                left -= client.recv_into(SCRATCH)
            wait_until(lambda: sent[0] > stalled, "the origin goes on")

    def stalls(self, count, quiet=0.7):
        """Waits until this number stays as it is."""
        seen, since = count(), time.monotonic()
        while time.monotonic() - since < quiet:
            time.sleep(0.05)
            if count() != seen:
                seen, since = count(), time.monotonic()
        return seen

    def test_many_at_once_while_one_is_large(self):
        """One core carries a large download; small requests do not wait behind it."""
        ends = threading.Event()

        def loads():
            while not ends.is_set():
                self.download(f"http://{self.at}/large", "--range", f"0-{GIB - 1}", "-w", "%{size_download} 200")

        loader = threading.Thread(target=loads, daemon=True)
        loader.start()
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            self.assertEqual(request(self.at, target="/hello")[2], b"hello\n")
            slowest = max(slowest, time.monotonic() - began)
        ends.set()
        loader.join(120)
        self.assertLess(slowest, 2.0)

    def test_both_directions_at_once(self):
        """The answer runs while the upload still does, and each waits for the other."""

        def echo(connection):
            head, rest = read_head(connection)
            length = int(re.search(r"(?im)^content-length: *(\d+)", head).group(1))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            while length > 0:
                connection.sendall(rest)
                length -= len(rest)
                rest = connection.recv(65536) if length else b""

        origin = Scripted(echo)
        self.addCleanup(origin.stop)
        self.proxy.rewrite(f'site {{ listen "{self.at}"; to "{origin.at}"; }}')
        self.proxy.reload()
        with connect(self.at) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1600000\r\n\r\n")
            read_until(client, b"\r\n\r\n")
            for number in range(16):
                # Each piece must come back before the next is sent.
                piece = os.urandom(100_000)
                client.sendall(piece)
                self.same_bytes(read_exactly(client, len(piece)), piece, number)


def read_exactly(client, length):
    data = bytearray()
    while len(data) < length:
        piece = client.recv(length - len(data))
        if not piece:
            raise AssertionError(f"ended after {len(data)} of {length} bytes")
        data += piece
    return bytes(data)
