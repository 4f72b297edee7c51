"""What clients see when servers, names, disks or they themselves fail."""

import http.client
import json
import os
import random
import select
import signal
import threading

from harness.clients import Load, ask_for, connect, read_to_end, read_until, request
from harness.origins import Flask, Nginx, Scripted, flask, nginx, read_head
from harness.programs import free_port, run, wait_until
from harness.story import Story


class Failures(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"

    def site(self, to, more=""):
        self.proxy = self.bothways(f'site {{\n    listen "{self.at}"\n    to "{to}"\n    {more}\n}}\n')
        return self.proxy

    # Servers that die.

    def killed_in_mid_response(self, target, server):
        """Downloads, kills the server's process when the body is on its way, returns how curl ends."""
        body = self.directory / "arrived"
        body.unlink(missing_ok=True)
        client = self.start("curl", ["curl", "-q", "-sS", "-N", "-o", body, f"http://{self.at}{target}"])
        wait_until(lambda: body.exists() and body.stat().st_size > 0, "the body begins")
        os.kill(server.worker(), signal.SIGKILL)
        return client.ended(20)

    def test_a_server_killed_in_mid_response(self):
        app = Flask(self.directory)
        self.addCleanup(app.stop)
        self.site(app.at)
        for target in ("/forever", "/forever?length"):
            code = self.killed_in_mid_response(target, app)
            self.assertIn(code, (18, 56), "18: partial file; 56: failure in receiving")
            record = self.proxy.wait_for_record(target=f"http://{self.at}{target}")
            self.assertEqual((record["error"], record["blame"]), ("http_response_incomplete", "upstream"))

    def test_nginx_killed_in_mid_response(self):
        server = Nginx(self.directory)
        self.addCleanup(server.stop)
        (server.www / "file").write_bytes(bytes(50 << 20))
        self.site(server.at)
        code = self.killed_in_mid_response("/slowly/file", server)
        self.assertIn(code, (18, 56))

    def test_an_old_client_sees_it_too(self):
        """Without chunks or length, only a reset tells that a body is not whole."""

        def dies(connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")

        origin = Scripted(dies)
        self.addCleanup(origin.stop)
        self.site(origin.at)
        with connect(self.at) as client:
            client.sendall(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
            with self.assertRaises(ConnectionResetError):
                read_to_end(client)

    def test_a_server_that_is_restarted(self):
        """Its connections in the pool are dead; nobody notices."""
        port = free_port()
        self.site(f"127.0.0.1:{port}", 'timeouts { upstream-idle "1min"; }')
        for _ in range(3):
            server = Nginx(self.directory, port=port)
            self.addCleanup(server.stop)
            client = http.client.HTTPConnection(self.at, timeout=30)
            for _ in range(5):
                client.request("GET", "/hello")
                answer = client.getresponse()
                self.assertEqual((answer.status, answer.read()), (200, b"hello\n"))
            client.close()
            server.stop()

    def test_a_server_that_closes_idle_connections_at_random_moments(self):
        """The race of keep-alive: a request meets a close. Nobody may see it."""

        def impatient(connection):
            # The first request of a connection is always answered: that is not the race.
            while read_head(connection) is not None:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                # Between nothing and a bit more than the clients take between two requests.
                ready, _, _ = select.select([connection], [], [], random.random() * 0.006)
                if not ready:
                    return

        origin = Scripted(impatient)
        self.addCleanup(origin.stop)
        self.site(origin.at)
        load = Load(self.at, 8, ask_for("/", lambda body: body == b"ok"))
        wait_until(lambda: load.good > 4000 or load.failures, "4000 exchanges")
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertGreater(origin.accepted, 100, "connections were closed and opened anew")
        records = self.proxy.records()
        self.assertTrue(any(record.get("retries") for record in records), "the race was met")

    def test_a_server_that_does_not_answer(self):
        silent = Scripted(read_to_end)
        self.addCleanup(silent.stop)
        self.site(silent.at, 'timeouts { first-byte "300ms"; }')
        status, fields, _ = request(self.at)
        self.assertEqual(status, 504)
        self.assertIn("http_response_timeout", fields["proxy-status"])

    def test_a_malformed_answer(self):
        for answer in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"hello\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: b\0\r\n\r\n",
        ):
            with self.subTest(answer):

                def malformed(connection):
                    read_head(connection)
                    connection.sendall(answer)

                origin = Scripted(malformed)
                self.at = f"127.0.0.1:{free_port()}"
                self.site(origin.at)
                self.assertEqual(request(self.at)[0], 502)
                origin.stop()
                self.proxy.stop()

    # Names.

    def test_a_name_that_does_not_resolve(self):
        self.site("nowhere.invalid:80")
        status, fields, _ = request(self.at)
        self.assertIn(status, (502, 503, 504))
        self.assertIn("dns", fields["proxy-status"])

    # Clients.

    def test_a_client_that_vanishes_cancels_the_work(self):
        left = threading.Event()

        def slow(connection):
            read_head(connection)
            connection.recv(1)
            left.set()

        origin = Scripted(slow)
        self.addCleanup(origin.stop)
        self.site(origin.at)
        client = connect(self.at)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: origin.accepted, "the origin is asked")
        client.close()
        self.assertTrue(left.wait(5), "the origin's connection ends with the client's")
        self.proxy.wait_for_record(blame="client")

    def test_slow_heads_and_slow_bodies_are_cut_off(self):
        self.bothways(f"""
timeouts {{ head "500ms"; slow-rate "10KiB"; slow-grace "500ms"; client-idle "700ms"; }}
site {{
    listen "{self.at}"
    to "{flask().at}"
}}
""")
        with connect(self.at) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
            self.assertIn(b"HTTP/1.1 408 ", read_to_end(client))
        with connect(self.at) as client:
            client.sendall(b"POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx")
            self.assertIn(b"HTTP/1.1 408 ", read_to_end(client))
        with connect(self.at) as client:
            self.assertEqual(read_to_end(client), b"", "an idle connection ends without a word")

    def test_bounds(self):
        self.bothways(f"""
limits {{ head-bytes "4KiB"; head-fields 20; target-bytes "1KiB"; body "10KiB"; }}
site {{
    listen "{self.at}"
    to "{flask().at}"
}}
""")
        self.assertEqual(request(self.at, "POST", "/digest", b"x" * 10_240)[0], 200)
        self.assertEqual(request(self.at, "POST", "/digest", b"x" * 10_241)[0], 413)
        chunked = ("-H", "Transfer-Encoding: chunked", "-d", "x" * 10_241, "-o", "/dev/null", "-w", "%{http_code}")
        self.assertEqual(self.curl(*chunked, f"http://{self.at}/digest").out, "413")
        self.assertEqual(request(self.at, target="/" + "x" * 1024)[0], 414)
        self.assertEqual(request(self.at, X_Big="x" * 4096)[0], 431)
        self.assertEqual(request(self.at, **{f"X_{n}": "1" for n in range(21)})[0], 431)

    def test_connections_of_one_client(self):
        self.bothways(f"""
limits {{ connections-per-client 5; }}
site {{
    listen "{self.at}"
    respond "hi"
}}
""")
        clients = [connect(self.at) for _ in range(5)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_until(client, b"hi")
        with connect(self.at) as sixth:
            sixth.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                self.assertNotIn(b" 200 ", read_to_end(sixth))
            except ConnectionResetError:
                pass
        for client in clients:
            client.close()
        wait_until(lambda: quietly(lambda: request(self.at)[0]) == 200, "there is room again")

    # Error pages.

    def test_an_error_page_of_ones_own(self):
        self.write("down.html", "<h1>back soon</h1>")
        self.site(f"127.0.0.1:{free_port()}", 'error-page 502 503 504 file="down.html"')
        status, fields, body = request(self.at, Accept="text/html")
        self.assertEqual((status, body), (502, b"<h1>back soon</h1>"))
        self.assertIn("text/html", fields["content-type"])

    # Disks.

    def test_a_full_disk_for_the_log(self):
        self.serves_with_log("/dev/full")

    def test_a_small_disk_that_fills_up(self):
        disk = self.directory / "disk"
        disk.mkdir()
        if run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], self.directory).code != 0:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(run, ["umount", disk], self.directory)
        self.serves_with_log(disk / "access.log")
        size = (disk / "access.log").stat().st_size
        self.assertGreater(size, 30_000)

    def serves_with_log(self, log):
        admin = f"127.0.0.1:{free_port()}"
        proxy = self.bothways(f"""
process {{
    admin "{admin}"
    log access="{log}"
}}
site {{
    listen "{self.at}"
    to "{nginx().at}"
}}
""")
        load = Load(self.at, 4, ask_for("/hello", lambda body: body == b"hello\n"))
        wait_until(lambda: load.good > 1000 or load.failures, "1000 exchanges")
        load.stop()
        self.assertEqual(load.failures, [])
        dropped = lambda: [  # noqa: E731
            line
            for line in request(admin, target="/metrics")[2].decode().splitlines()
            if "log" in line and "dropped" in line and not line.startswith("#") and float(line.split()[-1]) > 0
        ]
        wait_until(dropped, "the metrics count the lines that were dropped", program=proxy)


def quietly(do):
    try:
        return do()
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return None
