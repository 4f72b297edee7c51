"""A new configuration, a bad one, and the end: nobody who is served notices."""

import re
import signal
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as websocket

from harness.clients import Load, ask_for, connect, read_to_end, read_until, request
from harness.origins import flask, nginx, websocket_echo
from harness.programs import accepts, free_port, wait_until
from harness.story import Story, needs


class Reload(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.out = f"127.0.0.1:{free_port()}"

    def config(self, more="", site=""):
        return f"""
site "static.test" {{
    listen "{self.at}"
    {site}
    to "{nginx().at}"
}}
site "socket.test" {{
    listen "{self.at}"
    to "{websocket_echo().at}"
}}
site "shop.test" {{
    listen "{self.at}"
    to "{flask().at}"
}}
forward "{self.out}" {{
    ports any
    allow to="127.0.0.1"
}}
{more}
"""

    def test_many_rules(self):
        """20,000 rules are read and read again in a moment, and the right one of them decides."""
        def rules(version):
            denied = "".join(f'    deny from="10.{n >> 8}.{n & 255}.{version}" port="{n + 1}"\n' for n in range(20_000))
            return f'forward "{self.out}" {{\n    ports any\n{denied}    allow to="127.0.0.1"\n}}\n'

        proxy = self.bothways(rules(1))
        for version in range(2, 6):
            proxy.rewrite(rules(version))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
        told = self.bothways_command("explain", "127.0.0.1:300", "--forward", self.out, "--from", "10.1.43.5").out
        self.assertIn("bothways.kdl:302", told.splitlines()[-1])

    @needs("wrk")
    def test_under_load(self):
        """Dozens of reloads under load: no request fails, no tunnel ends, both ways."""
        proxy = self.bothways(self.config())
        socket = websocket("ws://socket.test/", sock=connect(self.at), proxy=None)
        self.addCleanup(socket.close)
        tunnel = connect(self.out)
        self.addCleanup(tunnel.close)
        tunnel.sendall(f"CONNECT {nginx().at} HTTP/1.1\r\nHost: {nginx().at}\r\n\r\n".encode())
        self.assertIn(b" 200 ", read_until(tunnel, b"\r\n\r\n"))

        wrk = self.start("wrk", ["wrk", "-t1", "-c32", "-d6s", "-H", "Host: static.test", f"http://{self.at}/hello"])
        kept = Load(self.at, 4, ask_for("/seen", lambda body: b'"path":"/seen"' in body, Host="shop.test"))
        fresh = Load(self.at, 2, ask_for("/hello", lambda b: b == b"hello\n", Host="static.test", Connection="close"))
        reloads = 0
        while wrk.process.poll() is None:
            # Something else each time: a field, a route, a site on a port of its own.
            edit = f'response {{ set "X-Reload" "{reloads}"; }}'
            more = f'site "more{reloads}.test" {{ listen "127.0.0.1:{free_port()}"; respond "{reloads}"; }}'
            proxy.rewrite(self.config(more, edit))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
            reloads += 1
            _, fields, _ = request(self.at, target="/hello", Host="static.test")
            self.assertEqual(fields["x-reload"], str(reloads - 1), "the new is in force once it is reported")
            socket.send(f"reload {reloads}")
            self.assertEqual(socket.recv(timeout=30), f"reload {reloads}")
            tunnel.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b"200 OK", read_until(tunnel, b"hello\n"))
        kept.stop()
        fresh.stop()
        told = wrk.out.read_text()
        self.assertNotIn("Socket errors", told)
        self.assertNotIn("Non-2xx", told)
        self.assertGreater(int(re.search(r"(\d+) requests in", told).group(1)), 1000, told)
        self.assertEqual((kept.failures, fresh.failures), ([], []))
        self.assertGreater(kept.good, 100)
        self.assertGreater(fresh.good, 100)
        self.assertGreater(reloads, 10)

    def test_a_bad_file_leaves_the_old_in_force(self):
        proxy = self.bothways(self.config())
        proxy.rewrite(self.config('sites "a" {\n}', 'redirct "/b"'))
        event = proxy.reload()
        self.assertIn("not reloaded", event["msg"])
        self.assertIn("did you mean `site`", event["diagnostics"])
        self.assertIn("redirct", event["diagnostics"])
        self.assertEqual(request(self.at, target="/hello", Host="static.test")[2], b"hello\n")
        proxy.rewrite(self.config(site='response { set "X-Now" "better"; }'))
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertEqual(request(self.at, Host="static.test")[1]["x-now"], "better")

    def test_an_address_that_is_taken_leaves_the_old_in_force(self):
        proxy = self.bothways(self.config())
        proxy.rewrite(self.config(f'site "b" {{ listen "{nginx().at}"; respond "b"; }}'))
        self.assertIn("not reloaded", proxy.reload()["msg"])
        self.assertEqual(request(self.at, target="/hello", Host="static.test")[2], b"hello\n")

    def test_the_command(self):
        admin = f"127.0.0.1:{free_port()}"
        process = f'process {{ admin "{admin}"; }}'
        proxy = self.bothways(self.config(process))
        proxy.rewrite(self.config(process, 'response { set "X-Now" "new"; }'))
        self.bothways_command("reload", "--admin", admin)
        self.assertEqual(request(self.at, Host="static.test")[1]["x-now"], "new")
        proxy.rewrite(self.config(process, "nonsense"))
        for how in (["--admin", admin], ["--config", "bothways.kdl"], []):
            done = self.bothways_command("reload", *how, code=78)
            self.assertIn("bothways.kdl:4:5: `nonsense`", done.err, how)

    def test_a_listener_that_closes_lets_its_connections_finish(self):
        proxy = self.bothways(self.config())
        with connect(self.at) as client:
            client.sendall(b"GET /slow/reload HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            other = f"127.0.0.1:{free_port()}"
            wait_until(lambda: in_flight(proxy), "the request is under way")
            proxy.rewrite(self.config().replace(self.at, other))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
            wait_until(lambda: not accepts(int(self.at.rpartition(":")[2])), "the old address is closed")
            request(other, "POST", "/events/reload", "now", Host="shop.test")
            self.assertIn(b"late now", read_until(client, b"late now"))

    # The end.

    def test_sigterm_drains(self):
        (nginx().www / "slow-file").write_bytes(b"x" * 300_000)
        proxy = self.bothways(self.config())
        client = self.start("curl", ["curl", "-q", "-sS", "-o", "copy", "-H", "Host: static.test",
                                     f"http://{self.at}/slowly/slow-file"])
        copy = self.directory / "copy"
        wait_until(lambda: copy.exists() and copy.stat().st_size > 0, "the download begins")
        idle = connect(self.at)
        self.addCleanup(idle.close)
        idle.sendall(b"GET /hello HTTP/1.1\r\nHost: static.test\r\n\r\n")
        read_until(idle, b"hello\n")
        proxy.send(signal.SIGTERM)
        proxy.wait_for_event("draining")
        wait_until(lambda: not accepts(int(self.at.rpartition(":")[2])), "nothing new is accepted")
        self.assertEqual(read_to_end(idle), b"", "idle connections are closed")
        self.assertEqual(client.ended(), 0)
        self.assertEqual(copy.stat().st_size, 300_000)
        self.assertEqual(proxy.ended(), 0)

    def test_the_drain_has_an_end(self):
        proxy = self.bothways(self.config('process { drain "500ms"; }'))
        client = websocket("ws://socket.test/", sock=connect(self.at), proxy=None)
        began = time.monotonic()
        proxy.send(signal.SIGTERM)
        self.assertEqual(proxy.ended(), 0)
        self.assertLess(time.monotonic() - began, 5)
        with self.assertRaises((OSError, EOFError, ConnectionClosed)):
            client.recv(timeout=10)

    def test_a_second_signal_ends_it_at_once(self):
        proxy = self.bothways(self.config())
        client = websocket("ws://socket.test/", sock=connect(self.at), proxy=None)
        self.addCleanup(client.close)
        proxy.send(signal.SIGTERM)
        proxy.wait_for_event("draining")
        proxy.send(signal.SIGTERM)
        proxy.ended(10)


def in_flight(proxy):
    """Whether the proxy holds a connection to the Flask application."""
    done = []
    port = flask().port
    for line in open(f"/proc/{proxy.pid}/net/tcp"):
        fields = line.split()
        if len(fields) > 3 and fields[2].endswith(f":{port:04X}") and fields[3] == "01":
            done.append(line)
    return done
