"""In front of real servers: nginx, and a Flask application run by gunicorn."""

import hashlib
import http.cookiejar
import json
import os
import threading
import unittest

import requests
from websockets.sync.client import connect as websocket

from harness.clients import connect, read_to_end, read_until, request
from harness.origins import Scripted, flask, nginx, read_head, websocket_echo
from harness.programs import free_port
from harness.story import Story


class Reverse(Story):
    """One site for each origin, told apart by name."""

    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.proxy = self.bothways(f"""
listen "{self.at}"
site "static.test" {{
    listen "{self.at}"
    to "{nginx().at}"
}}
site "shop.test" "*.shop.test" {{
    listen "{self.at}"
    route "/old/*" {{ redirect "/new/{{rest}}" status=301 }}
    route "/api/{{version}}/*" {{
        strip-prefix "/api"
        request {{ set "X-Version" "{{version}}"; remove "X-Secret" }}
        to "{flask().at}"
    }}
    route "/only" method="GET" {{ respond "only get\\n" }}
    route "/health" {{ respond "good\\n" }}
    response {{ set "X-Content-Type-Options" "nosniff"; remove "Server" }}
    to "{flask().at}"
}}
site "socket.test" {{
    listen "{self.at}"
    to "{websocket_echo().at}"
}}
""")

    def get(self, host, target, *arguments, **more):
        return self.curl("-H", f"Host: {host}", *arguments, f"http://{self.at}{target}", **more).out

    def test_nginx_by_name(self):
        self.assertEqual(self.get("static.test", "/"), "<h1>nginx</h1>\n")
        self.assertEqual(self.get("STATIC.test:80", "/hello"), "hello\n")
        seen = self.get("static.test", "/a/../seen-by-nginx?q=%41", "--path-as-is")
        self.assertEqual(seen, "GET /seen-by-nginx?q=%41 static.test\n")

    def test_a_host_that_no_site_has(self):
        answer = self.get("nobody.test", "/", "-i")
        self.assertIn("HTTP/1.1 421 ", answer)
        self.assertIn("no site of this listener", answer)

    def test_ranges_and_conditions_pass(self):
        path = nginx().www / "numbers.txt"
        path.write_text("0123456789" * 10)
        self.assertEqual(self.get("static.test", "/numbers.txt", "-r", "5-14"), "5678901234")
        status, fields, _ = request(self.at, target="/numbers.txt", Host="static.test")
        self.assertEqual(status, 200)
        again = request(self.at, target="/numbers.txt", Host="static.test", If_None_Match=fields["etag"])
        self.assertEqual((again[0], again[2]), (304, b""))
        status, head, body = request(self.at, "HEAD", "/numbers.txt", Host="static.test")
        self.assertEqual((status, head["content-length"], body), (200, "100", b""))

    def test_what_the_application_sees(self):
        seen = json.loads(self.get("www.shop.test", "/seen/a%20b?x=1", "-H", "X-Forwarded-For: 6.6.6.6",
                                   "-H", "Forwarded: for=6.6.6.6", "-H", "X_Forwarded_For: 6.6.6.6",
                                   "-H", "Connection: X-Hop", "-H", "X-Hop: 1"))
        fields = {name.lower(): value for name, value in seen["fields"]}
        self.assertEqual((seen["host"], seen["path"]), ("www.shop.test", "/seen/a%20b?x=1"))
        self.assertEqual(fields["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(fields["x-forwarded-proto"], "http")
        self.assertEqual(fields["x-forwarded-host"], "www.shop.test")
        self.assertNotIn("6.6.6.6", json.dumps(seen), "what the client says of itself is not believed")
        self.assertNotIn("x-hop", fields)

    def test_routes(self):
        answer = self.get("shop.test", "/old/a/b?c=d", "-i")
        self.assertIn("HTTP/1.1 301 ", answer)
        self.assertRegex(answer, r"(?im)^location: \S*/new/a/b")
        self.assertEqual(self.get("shop.test", "/health"), "good\n")
        seen = json.loads(self.get("shop.test", "/api/seen/v2/x", "-H", "X-Secret: 1"))
        fields = {name.lower(): value for name, value in seen["fields"]}
        self.assertEqual((seen["path"], fields["x-version"]), ("/seen/v2/x", "seen"))
        self.assertNotIn("x-secret", fields)
        self.assertEqual(self.get("shop.test", "/only"), "only get\n")
        self.assertIn("HTTP/1.1 404 ", self.get("shop.test", "/only", "-i", "-X", "POST", "-d", "x"))
        answer = self.get("shop.test", "/", "-i")
        self.assertRegex(answer, r"(?im)^x-content-type-options: nosniff")
        self.assertNotRegex(answer, r"(?im)^server:")

    def test_a_session_as_browsers_have_it(self):
        client = requests.Session()
        client.trust_env = False
        client.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(strict_domain=False))
        client.headers["Host"] = "shop.test"
        answer = client.post(f"http://{self.at}/login", {"user": "kim"}, allow_redirects=False)
        self.assertEqual(answer.headers["Location"], "/account")
        cookie = answer.headers["Set-Cookie"].split(";")[0]
        account = client.get(f"http://{self.at}/account", headers={"Cookie": cookie})
        self.assertEqual(account.text, "hello kim")
        for method in ("PUT", "PATCH", "DELETE"):
            seen = client.request(method, f"http://{self.at}/seen", data="body").json()
            self.assertEqual((seen["method"], seen["body"]), (method, "body"))

    def test_bodies_arrive_as_they_were(self):
        content = os.urandom(20 << 20)
        sha = hashlib.sha256(content).hexdigest()
        path = self.directory / "content"
        path.write_bytes(content)
        for how in (["-T", path], ["--data-binary", f"@{path}", "-H", "Transfer-Encoding: chunked"],
                    ["--data-binary", f"@{path}", "-H", "Expect:"], ["-0", "--data-binary", f"@{path}"]):
            seen = json.loads(self.get("shop.test", "/digest", *how))
            self.assertEqual((seen["length"], seen["sha256"]), (len(content), sha), how)
        (nginx().www / "content").write_bytes(content)
        for how in ([], ["-0"], ["-r", "0-"]):
            self.get("static.test", "/content", "-o", self.directory / "copy", *how)
            copy = (self.directory / "copy").read_bytes()
            self.assertEqual(hashlib.sha256(copy).hexdigest(), sha, how)

    def test_a_body_of_unknown_length(self):
        expected = b"".join(bytes([65 + n % 26]) * 3000 for n in range(500))
        target = "/stream?pieces=500&size=3000"
        self.same_bytes(request(self.at, target=target, Host="shop.test")[2], expected)
        # A client of HTTP/1.0 knows no chunks: the body ends with the connection.
        with connect(self.at) as client:
            client.sendall(f"GET {target} HTTP/1.0\r\nHost: shop.test\r\n\r\n".encode())
            head, _, body = read_to_end(client).partition(b"\r\n\r\n")
        self.assertNotIn(b"chunked", head.lower())
        self.same_bytes(body, expected)

    def test_pipelined_requests_are_answered_in_order(self):
        targets = ["/health", "/seen/1", "/only", "/seen/2", "/stream?pieces=3&size=10", "/health"]
        with connect(self.at) as client:
            for target in targets:
                client.sendall(f"GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n".encode())
            client.sendall(b"GET /health HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
            answers = read_to_end(client).decode()
        self.assertEqual(answers.count("HTTP/1.1 200"), len(targets) + 1)
        marks = ["good", '"path":"/seen/1"', "only get", '"path":"/seen/2"', "AAAAAAAAAA", "good", "good"]
        place = 0
        for mark in marks:
            place = answers.find(mark, place) + 1
            self.assertGreater(place, 0, f"{mark} is not in its place\n{answers}")

    def test_server_sent_events_arrive_one_by_one(self):
        with connect(self.at) as client:
            client.sendall(b"GET /events/one?greet=1 HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            head = read_until(client, b"\r\n\r\n").lower()
            self.assertIn(b"content-type: text/event-stream", head)
            self.assertIn(b"data: welcome", read_until(client, b"\n\n"))
            for number in range(20):
                # The next is made only when this one has arrived here.
                text = f"number {number}"
                request(self.at, "POST", "/events/one", text, Host="shop.test")
                self.assertIn(text.encode(), read_until(client, b"\n\n"))
            request(self.at, "POST", "/events/one", "", Host="shop.test")
            self.assertTrue(read_until(client, b"0\r\n\r\n"))

    def test_websocket(self):
        with websocket("ws://socket.test/", sock=connect(self.at), proxy=None, max_size=None) as client:
            for message in ("hello", "héllo " * 10_000, os.urandom(1 << 20), "", "bye"):
                client.send(message)
                self.same_bytes(client.recv(timeout=30), message)
            client.ping().wait(30)
        record = self.proxy.wait_for_record(scope="socket.test", status=101)
        self.assertTrue(record["tunnel"])

    def test_an_upgrade_that_the_server_does_not_do(self):
        status, fields, body = request(
            self.at, target="/health2", Host="shop.test", Connection="Upgrade", Upgrade="websocket"
        )
        self.assertEqual(status, 404)
        self.assertNotIn("upgrade", fields)

    def test_what_is_ambiguous_is_refused(self):
        rows = {
            "both lengths": b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "two lengths": b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "bare line feeds": b"GET / HTTP/1.1\nHost: shop.test\n\n",
            "folded field": b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-A: 1\r\n  2\r\n\r\n",
            "space before the colon": b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-A : 1\r\n\r\n",
            "no host": b"GET / HTTP/1.1\r\n\r\n",
            "two hosts": b"GET / HTTP/1.1\r\nHost: shop.test\r\nHost: static.test\r\n\r\n",
            "user in the target": b"GET http://u:p@shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        }
        for what, text in rows.items():
            with self.subTest(what), connect(self.at) as client:
                client.sendall(text)
                answer = read_to_end(client)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
                self.assertEqual(answer.count(b"HTTP/1.1 "), 1)

    def test_an_answer_before_the_body_is_there(self):
        def early(connection):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n")

        origin = Scripted(early)
        self.addCleanup(origin.stop)
        at = f"127.0.0.1:{free_port()}"
        self.proxy.rewrite(f'site {{ listen "{at}"; to "{origin.at}"; }}')
        self.assertEqual(self.proxy.reload()["msg"][:8], "reloaded")
        with connect(at) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
            sender = threading.Thread(target=pour, args=(client,), daemon=True)
            sender.start()
            head = read_until(client, b"\r\n\r\n")
            self.assertIn(b"HTTP/1.1 413 ", head)
            self.assertEqual(read_until(client, b"no\n"), b"no\n")
        sender.join(30)

    def test_no_server_behind(self):
        at = f"127.0.0.1:{free_port()}"
        self.proxy.rewrite(f'site {{ listen "{at}"; to "127.0.0.1:{free_port()}"; }}')
        self.proxy.reload()
        answer = self.curl("-i", "-H", "Accept: application/json", f"http://{at}/").out
        self.assertRegex(answer, r"HTTP/1\.1 50[234] ")
        self.assertRegex(answer, r"(?im)^proxy-status: ")
        json.loads(answer.partition("\r\n\r\n")[2])
        page = self.curl("-H", "Accept: text/html,*/*", f"http://{at}/").out
        self.assertIn("<!doctype html>", page)


def pour(client):
    """Sends until the other side has enough."""
    piece = bytes(65536)
    try:
        while True:
            client.sendall(piece)
    except OSError:
        pass


if __name__ == "__main__":
    unittest.main()
