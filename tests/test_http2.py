"""HTTP/2 on either side: curl, h2load and clients by hand in front; nginx, gunicorn and others behind."""

import json
import os
import re
import signal
import threading

import h2.events

from harness.clients import request
from harness.http2 import Http2
from harness.origins import Nginx, Scripted, flask, nginx, read_head, websocket_echo
from harness.programs import free_port, wait_until
from harness.story import Story, needs, once
from harness.tls import Authority


class Origin:
    """An nginx that speaks HTTP/1.1, HTTP/2 in clear and both over TLS, and its authority."""

    def __init__(self, directory):
        self.authority = Authority(directory)
        self.nginx = Nginx(directory, tls=self.authority.issue("origin", "origin.test", "127.0.0.1"), http2=True)
        self.big = os.urandom(5 << 20)
        (self.nginx.www / "big").write_bytes(self.big)

    def stop(self):
        self.nginx.stop()


origin = once(Origin)


class Http2Story(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"

    def client(self, at=None):
        """In clear: what concerns TLS is told in test_tls.py."""
        client = Http2(at or self.at)
        self.addCleanup(client.close)
        return client

    def curl2(self, target, *arguments, **more):
        return self.curl("--http2-prior-knowledge", *arguments, f"http://{self.at}{target}", **more)


class Downstream(Http2Story):
    def setUp(self):
        super().setUp()
        self.proxy = self.bothways(self.config())

    def config(self, more=""):
        return f"""
site "static.test" {{
    listen "{self.at}"
    {more}
    to "{nginx().at}"
}}
site {{
    listen "{self.at}"
    route "/echo" {{ to "{websocket_echo().at}"; }}
    to "{flask().at}"
}}
"""

    def scripted(self, serve):
        """An origin of its own, in the place of the others."""
        behind = Scripted(serve)
        self.addCleanup(behind.stop)
        self.proxy.rewrite(f'site {{ listen "{self.at}"; to "{behind.at}"; }}')
        self.assertEqual(self.proxy.reload()["msg"], "reloaded")
        return behind

    def test_both_protocols_on_one_port(self):
        for option, told in (("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")):
            done = self.curl(option, "-w", "%{stderr}%{http_version}", f"http://{self.at}/seen?a=%41")
            self.assertEqual((json.loads(done.out)["path"], done.err), ("/seen?a=%41", told))
        status, _, body = request(self.at, target="/seen")
        self.assertEqual((status, json.loads(body)["path"]), (200, "/seen"))

    def test_what_the_origin_sees(self):
        cookies = [("cookie", "a=b"), ("cookie", "c=d"), ("x-story", "one"), ("x-story", "two"), ("te", "trailers")]
        _, fields, body = self.client().get("shop.test:81", "/seen?x", fields=cookies)
        seen = json.loads(body)
        told = {name.lower(): value for name, value in seen["fields"]}
        self.assertEqual((seen["method"], seen["path"], told["host"]), ("GET", "/seen?x", "shop.test:81"))
        # RFC 9113, section 8.2.3: crumbs are joined for HTTP/1.1.
        self.assertEqual((told["cookie"], told["x-story"].replace(" ", "")), ("a=b; c=d", "one,two"))
        self.assertFalse({"connection", "transfer-encoding", "keep-alive"} & fields.keys(), fields)

    def test_bodies(self):
        big = self.directory / "big"
        big.write_bytes(os.urandom(8 << 20))
        (nginx().www / "big2").write_bytes(big.read_bytes())
        told = json.loads(self.curl2("/digest", "-T", big).out)
        self.assertEqual(told["length"], 8 << 20)
        # Of unknown length: from a pipe, and chunked by the origin.
        told = json.loads(self.curl2("/digest", "-X", "POST", "-T", "-", text="x" * 100_000).out)
        self.assertEqual(told["length"], 100_000)
        self.assertEqual(len(self.curl2("/stream?pieces=50").out), 50_000)
        self.curl2("/big2", "-H", "Host: static.test", "-o", "copy")
        self.same_bytes((self.directory / "copy").read_bytes(), big.read_bytes())
        head = self.curl2("/hello", "-H", "Host: static.test", "-I").out
        self.assertRegex(head, r"(?i)content-length: 6")

    def test_events_arrive_at_once(self):
        client = self.client()
        number = client.request("a", "/events/http2?greet=1")
        self.assertEqual(client.head(number)[":status"], "200")
        self.assertEqual(client.data(number, 15), b"data: welcome\n\n")
        for text in ("one", "two"):
            request(flask().at, "POST", "/events/http2", text)
            self.assertEqual(client.data(number, 11), f"data: {text}\n\n".encode())
        request(flask().at, "POST", "/events/http2", "")
        self.assertEqual(client.body(number), b"")

    def test_a_slow_stream_holds_up_no_other(self):
        client = self.client()
        slow = client.request("a", "/slow/http2")
        for _ in range(200):
            self.assertEqual(client.get("static.test", "/hello")[2], b"hello\n")
        request(flask().at, "POST", "/events/http2", "now")
        client.head(slow)
        self.assertEqual(client.body(slow), b"late now")

    def test_a_stream_that_is_not_read_holds_up_no_other(self):
        """The window of one stream is full; the connection's is kept open for the others."""
        client = self.client()
        client.h2.increment_flow_control_window(1 << 24)
        client.flush()
        stuck = client.request("a", "/forever")
        client.head(stuck)
        # More than the client will ever take of this stream: it acknowledges by connection only.
        original = client.h2.acknowledge_received_data
        client.h2.acknowledge_received_data = lambda n, s: None if s == stuck else original(n, s)
        for _ in range(50):
            self.assertEqual(client.get("static.test", "/hello")[2], b"hello\n")
        client.reset(stuck)
        self.assertEqual(client.get("static.test", "/hello")[2], b"hello\n")

    def test_a_client_that_gives_up_is_told_to_the_origin(self):
        gone, begun = threading.Event(), threading.Event()

        def serve(connection):
            if read_head(connection) is None:
                return
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst")
            begun.set()
            if connection.recv(1) == b"":
                gone.set()

        self.scripted(serve)
        client = self.client()
        number = client.request("a")
        self.assertTrue(begun.wait(20))
        self.assertEqual(client.data(number, 5), b"first")
        client.reset(number)
        self.assertTrue(gone.wait(20), "the origin's connection is closed")
        self.assertFalse(client.ended)

    def test_an_answer_that_breaks_off_is_no_whole_answer(self):
        def serve(connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst")

        self.scripted(serve)
        client = self.client()
        number = client.request("a")
        # The head may go with what was not sent yet.
        client.of(number, h2.events.StreamReset)
        self.assertFalse(any(isinstance(event, h2.events.StreamEnded) for event in client.events))

    def test_interim_answers_and_trailers(self):
        def serve(connection):
            while (asked := read_head(connection)) is not None:
                head, rest = asked
                while b"0\r\n" not in rest:
                    rest += connection.recv(65536)
                while not rest.endswith(b"\r\n\r\n"):
                    rest += connection.recv(65536)
                got = rest.decode().replace("\r\n", "|")
                connection.sendall(
                    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                    b"%x\r\n%s\r\n0\r\nX-Sum: seven\r\n\r\n" % (len(got), got.encode())
                )

        self.scripted(serve)
        client = self.client()
        number = client.request("a", "/", "POST", end=False, fields=[("te", "trailers"), ("trailer", "x-mine")])
        client.send(number, b"body")
        client.h2.send_headers(number, [("x-mine", "sent")], end_stream=True)
        client.flush()
        interim = client.of(number, h2.events.InformationalResponseReceived)
        self.assertEqual(dict(interim.headers)[":status"], "103")
        self.assertEqual(client.head(number)[":status"], "200")
        body = client.body(number)
        self.assertIn(b"body", body)
        self.assertIn(b"x-mine: sent", body.lower())
        trailers = client.of(number, h2.events.TrailersReceived)
        self.assertEqual(dict(trailers.headers)["x-sum"], "seven")

    def test_expect_continue(self):
        done = self.curl2("/digest", "-H", "Expect: 100-continue", "-d", "x" * 5000)
        self.assertEqual(json.loads(done.out)["length"], 5000)

    def test_websocket_as_a_stream(self):
        """Extended CONNECT (RFC 8441) to an origin that knows of HTTP/1.1 alone."""
        client = self.client()
        number = client.websocket("a", "/echo")
        self.assertEqual(client.head(number)[":status"], "200")
        for text in (b"hello", b"x" * 100):
            # A text frame, masked with zeros (RFC 6455, section 5).
            client.send(number, bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
            self.assertEqual(client.data(number, 2 + len(text)), bytes([0x81, len(text)]) + text)
        self.assertEqual(client.get("static.test", "/hello")[2], b"hello\n")
        client.send(number, bytes([0x88, 0x80, 0, 0, 0, 0]))
        client.body(number)
        client.send(number, end=True)
        record = self.proxy.wait_for_record(route="/echo")
        self.assertEqual(record["version"], "HTTP/2.0", record)

    def test_http2_can_be_off(self):
        self.proxy.rewrite(f'listen "{self.at}" {{ http2 off; }}' + self.config())
        self.assertEqual(self.proxy.reload()["msg"], "reloaded")
        self.assertNotEqual(self.curl2("/seen", code=None).code, 0)
        self.assertEqual(request(self.at, target="/hello", Host="static.test")[2], b"hello\n")

    @needs("h2load")
    def test_h2load(self):
        for how in (["-c8", "-m32"], ["-c100", "-m1"], ["-c1", "-m100"]):
            done = self.run_command("h2load", *how, "-t1", "-n8000", "-H", ":authority: static.test", f"http://{self.at}/hello")
            self.assertIn("8000 succeeded, 0 failed, 0 errored, 0 timeout", done.out)
            self.assertIn("8000 2xx", done.out)

    @needs("h2load")
    def test_reload_under_load(self):
        """No stream fails, and no connection ends that has any."""
        old = self.client()
        waiting = old.request("a", "/slow/http2-reload")
        h2load = self.start("h2load", ["h2load", "-c8", "-m16", "-t1", "-D4s", "-H", ":authority: static.test",
                                       f"http://{self.at}/hello"])
        reloads = 0
        while h2load.process.poll() is None:
            self.proxy.rewrite(self.config(f'response {{ set "X-Reload" "{reloads}"; }}'))
            self.assertEqual(self.proxy.reload()["msg"], "reloaded")
            self.assertEqual(old.get("static.test", "/hello")[1]["x-reload"], str(reloads))
            reloads += 1
        told = h2load.out.read_text()
        self.assertRegex(told, r"[1-9]\d{2,} succeeded, 0 failed, 0 errored, 0 timeout")
        self.assertGreater(reloads, 5)
        request(flask().at, "POST", "/events/http2-reload", "now")
        old.head(waiting)
        self.assertEqual(old.body(waiting), b"late now")

    def test_sigterm_lets_streams_finish(self):
        idle = self.client()
        self.assertEqual(idle.get("static.test", "/hello")[0], 200)
        client = self.start("curl", ["curl", "-q", "-sS", "-N", "-o", "copy", "--http2-prior-knowledge",
                                     f"http://{self.at}/events/http2-drain?greet=1"])
        copy = self.directory / "copy"
        wait_until(lambda: copy.exists() and copy.stat().st_size > 0, "the answer begins", program=client)
        self.proxy.send(signal.SIGTERM)
        self.proxy.wait_for_event("draining")
        idle.wait(lambda event: isinstance(event, h2.events.ConnectionTerminated))
        idle.close()
        for text in ("now", ""):
            request(flask().at, "POST", "/events/http2-drain", text)
        self.assertEqual(client.ended(), 0)
        self.assertEqual(copy.read_text(), "data: welcome\n\ndata: now\n\n")
        self.assertEqual(self.proxy.ended(), 0)

    @needs("h2load")
    def test_an_origin_that_is_killed_under_load(self):
        """Its requests fail by themselves; the connections stay, and once it is back all is well."""
        server = Nginx(self.directory)
        self.addCleanup(server.stop)
        self.proxy.rewrite(f'site {{ listen "{self.at}"; to "{server.at}"; }}')
        self.assertEqual(self.proxy.reload()["msg"], "reloaded")
        client = self.client()
        self.assertEqual(client.get("a", "/hello")[0], 200)
        h2load = self.start("h2load", ["h2load", "-c4", "-m16", "-t1", "-D5s", f"http://{self.at}/hello"])
        wait_until(lambda: len(self.proxy.records()) > 500, "the load runs", program=h2load)
        os.kill(server.worker(), signal.SIGKILL)
        server.stop(signal.SIGKILL)
        wait_until(lambda: client.get("a", "/hello")[0] in (502, 503), "it is gone", program=self.proxy)
        back = Nginx(self.directory, port=server.port)
        self.addCleanup(back.stop)
        wait_until(lambda: client.get("a", "/hello")[0] == 200, "it is back", program=self.proxy)
        self.assertEqual(h2load.ended(), 0)
        told = h2load.out.read_text()
        # Failed: answered with an error. Errored: a stream or connection that broke.
        self.assertRegex(told, r"0 errored, 0 timeout")


class Upstream(Http2Story):
    """Every protocol in front of every protocol behind."""

    def site(self, protocol):
        """A proxy whose origin is spoken to in this protocol."""
        server = origin().nginx
        if protocol == "h1":
            upstream = f'to "{server.at}"'
        elif protocol == "h2c":
            upstream = f'to "127.0.0.1:{server.h2c_port}"; protocol h2c'
        else:
            upstream = f'to "https://127.0.0.1:{server.tls_port}"; protocol {protocol}; tls {{ ca "{origin().authority.ca}"; }}'
        self.at = f"127.0.0.1:{free_port()}"
        return self.bothways(f"""
process {{ cores 1; }}
upstream behind {{ {upstream}; }}
site {{
    listen "{self.at}"
    to behind
}}
""", name=f"{protocol}.kdl")

    def test_all_combinations(self):
        for protocol, spoken in (("h1", "HTTP/1.1"), ("h2c", "HTTP/2.0"), ("h2", "HTTP/2.0"), ("auto", "HTTP/2.0")):
            proxy = self.site(protocol)
            for option in ("--http1.1", "--http2-prior-knowledge"):
                with self.subTest(behind=protocol, before=option):
                    at = f"http://{self.at}"
                    self.assertEqual(self.curl(option, f"{at}/protocol").out.split()[0], spoken)
                    self.assertEqual(self.curl(option, f"{at}/seen-by-nginx?q=%41").out, "GET /seen-by-nginx?q=%41 127.0.0.1\n")
                    self.curl(option, "-o", "copy", f"{at}/big")
                    self.same_bytes((self.directory / "copy").read_bytes(), origin().big)
                    self.assertIn("content-length: 6", self.curl(option, "-I", f"{at}/hello").out.lower())
                    self.assertEqual(self.curl(option, "-o", "out", "-w", "%{http_code}", f"{at}/none").out, "404")
                    ranged = self.curl(option, "-r", "100-199", "-o", "part", "-w", "%{http_code}", f"{at}/big").out
                    self.assertEqual((ranged, (self.directory / "part").read_bytes()), ("206", origin().big[100:200]))
            proxy.stop()

    def test_streams_share_connections(self):
        self.site("h2c")
        client = self.client()
        told = {client.get("a", "/protocol")[2].split()[-1] for _ in range(20)}
        self.assertEqual(len(told), 1, "one connection for one after the other")
        numbers = [client.request("a", "/slowly/big") for _ in range(20)]
        told = {client.get("a", "/protocol")[2].split()[-1] for _ in range(5)}
        self.assertLessEqual(len(told), 2)
        for number in numbers:
            client.reset(number)

    @needs("h2load", "wrk")
    def test_load(self):
        """More streams than one connection to the origin takes (nginx: 128)."""
        for protocol in ("h2c", "h2"):
            proxy = self.site(protocol)
            done = self.run_command("h2load", "-c10", "-m40", "-t1", "-n10000", f"http://{self.at}/hello")
            self.assertIn("10000 succeeded, 0 failed, 0 errored, 0 timeout", done.out, protocol)
            self.assertIn("10000 2xx", done.out, protocol)
            told = self.run_command("wrk", "-t1", "-c200", "-d2s", f"http://{self.at}/hello").out
            self.assertNotIn("Socket errors", told)
            self.assertNotIn("Non-2xx", told)
            self.assertGreater(int(re.search(r"(\d+) requests in", told).group(1)), 500, told)
            proxy.stop()

    @needs("h2load")
    def test_connections_that_the_origin_ends_with_goaway(self):
        """nginx says GOAWAY after so many requests; nobody notices."""
        server = Nginx(self.directory, "keepalive_requests 50;", tls=origin().authority.issue("g", "127.0.0.1"), http2=True)
        self.addCleanup(server.stop)
        self.bothways(f"""
upstream behind {{ to "127.0.0.1:{server.h2c_port}"; protocol h2c; }}
site {{ listen "{self.at}"; to behind; }}
""")
        done = self.run_command("h2load", "-c4", "-m10", "-t1", "-n5000", f"http://{self.at}/hello")
        self.assertIn("5000 succeeded, 0 failed, 0 errored, 0 timeout", done.out)
        self.assertIn("5000 2xx", done.out)
