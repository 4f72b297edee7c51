"""A real browser, in front of both directions."""

import json

from harness.clients import request
from harness.origins import Dns, Nginx, flask, nginx, websocket_echo
from harness.programs import find, free_port, wait_until
from harness.story import Story, needs
from harness.tls import Authority, Certificates, key_digest

# The background services of a browser would only be refused here, again and again.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage", "--mute-audio",
)


class BrowserStory(Story):
    def chromium(self, *arguments):
        profile = self.directory / "profile"
        return [find("chromium"), *OPTIONS, f"--user-data-dir={profile}", *arguments]

    def page_reports(self, *arguments):
        """Opens a page that tries out what pages do, and returns what it reports."""
        while request(flask().at, target="/report")[0] == 200:
            pass  # What an earlier story left.
        # With a port for debugging it stays until it is ended.
        browser = self.start("chromium", self.chromium("--remote-debugging-port=0", *arguments))

        def reported():
            status, _, body = request(flask().at, target="/report")
            return json.loads(body) if status == 200 else None

        report = wait_until(reported, "the page reports", program=browser)
        browser.stop()
        return report


@needs("chromium")
class Browser(BrowserStory):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.out = f"127.0.0.1:{free_port()}"
        self.dns = Dns({name: "127.0.0.1" for name in ("shop.test", "secure.test", "denied.test")})
        self.addCleanup(self.dns.stop)
        self.proxy = self.bothways(f"""
process {{ resolver {{ server "{self.dns.at}"; hosts #false; }} }}
site {{
    listen "{self.at}"
    route "/echo" {{ to "{websocket_echo().at}" }}
    to "{flask().at}"
}}
forward "{self.out}" {{
    ports any
    deny to="denied.test"
    allow to="shop.test,secure.test" special=#true
}}
""")

    def check(self, report, host):
        self.assertNotIn("error", report)
        seen = {name.lower(): value for name, value in report["json"]["fields"]}
        self.assertEqual((report["json"]["path"], seen["host"]), ("/seen", host))
        self.assertIn("Chrome", seen["user-agent"])
        self.assertEqual(report["upload"]["length"], 300_000)
        self.assertEqual(report["stream"], 20_000)
        self.assertEqual(report["style"], "rgb(1, 2, 3)")
        self.assertEqual(report["event"], "welcome")
        self.assertEqual(report["echo"], "h\u00e9llo")

    def test_through_the_reverse_proxy(self):
        report = self.page_reports(f"http://{self.at}/?echo=/echo")
        self.check(report, self.at)
        self.proxy.wait_for_record(status=101, route="/echo")
        statuses = {record.get("status") for record in self.proxy.records()}
        self.assertLessEqual(statuses, {200, 204, 101, 404}, "404 is for the icon")

    def through(self):
        return f"--proxy-server=http://{self.out}", "--proxy-bypass-list=<-loopback>"

    def test_through_the_forward_proxy(self):
        echo = f"ws://shop.test:{websocket_echo().port}/"
        at = f"shop.test:{flask().port}"
        report = self.page_reports(*self.through(), f"http://{at}/?echo={echo}")
        self.check(report, at)
        self.proxy.wait_for_record(direction="forward", method="GET", target=f"http://{at}/seen", status=200)
        # Browsers tunnel WebSockets.
        request_line = f"shop.test:{websocket_echo().port}"
        self.proxy.wait_for_record(direction="forward", method="CONNECT", target=request_line)

    def dom(self, *arguments):
        done = self.run_command(*self.chromium("--dump-dom", "--timeout=20000", *arguments))
        return done.out

    def test_https_by_connect(self):
        certificates = Certificates(self.directory, "secure.test")
        server = Nginx(self.directory, tls=certificates)
        self.addCleanup(server.stop)
        at = f"secure.test:{server.tls_port}"
        # The authority is ours, and the browser does not know it.
        page = self.dom(*self.through(), "--ignore-certificate-errors", f"https://{at}/")
        self.assertIn("<h1>nginx</h1>", page)
        self.proxy.wait_for_record(method="CONNECT", target=at, status=200)

    def test_a_denied_host_is_readable(self):
        page = self.dom(*self.through(), f"http://denied.test:{nginx().port}/")
        self.assertIn("denied.test", page)
        self.assertIn("403", page)
        self.assertNotIn("nginx", page)


@needs("chromium")
class Http2(BrowserStory):
    """Chromium over TLS and HTTP/2, towards origins and towards a proxy."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory / "keys")
        self.pair = self.authority.issue("all", "shop.test", "static.test", "proxy.test")
        self.port = free_port()
        self.proxy = self.bothways(f"""
site "shop.test" {{
    listen "127.0.0.1:{self.port}"
    redirect-http off
    tls {self.pair.kdl}
    route "/echo" {{ to "{websocket_echo().at}"; }}
    to "{flask().at}"
}}
site "static.test" {{
    listen "127.0.0.1:{self.port}"
    redirect-http off
    tls {self.pair.kdl}
    route "/report" {{ to "{flask().at}"; }}
    to "{nginx().at}"
}}
""")

    def chromium(self, *arguments):
        known = key_digest(self.pair.certificate, self.directory)
        return super().chromium(f"--ignore-certificate-errors-spki-list={known}",
                                "--host-resolver-rules=MAP *.test 127.0.0.1", *arguments)

    def test_a_page_and_all_that_it_does(self):
        report = self.page_reports(f"https://shop.test:{self.port}/?echo=/echo")
        self.assertNotIn("error", report)
        self.assertEqual(report["protocols"], ["h2"])
        self.assertEqual((report["upload"]["length"], report["stream"], report["event"]), (300_000, 20_000, "welcome"))
        self.assertEqual(report["echo"], "h\u00e9llo")
        # RFC 8441: the WebSocket is a stream of the connection that is there.
        record = self.proxy.wait_for_record(route="/echo")
        self.assertEqual(record["version"], "HTTP/2.0", record)

    def test_a_hundred_objects(self):
        (nginx().www / "object").mkdir(exist_ok=True)
        for number in range(100):
            part = request(flask().at, target=f"/object/{number}.js")[2]
            (nginx().www / f"object/{number}.js").write_bytes(part)
        (nginx().www / "album.html").write_bytes(request(flask().at, target="/album")[2])
        for page in ("shop.test", "static.test"):
            with self.subTest(page):
                path = "album" if page == "shop.test" else "album.html"
                report = self.page_reports(f"https://{page}:{self.port}/{path}")
                self.assertEqual(report, {"objects": 100, "protocols": ["h2"]})

        def parts_told():
            return [r for r in self.proxy.records() if "/object/" in r.get("target", "")]

        wait_until(lambda: len(parts_told()) >= 200, "a record of each object")
        parts = parts_told()
        self.assertEqual(len(parts), 200)
        self.assertEqual({(r["status"], r["version"]) for r in parts}, {(200, "HTTP/2.0")})

    def test_an_https_proxy(self):
        dns, out = Dns({"shop.test": "127.0.0.1"}), free_port()
        self.addCleanup(dns.stop)
        # A process of its own: a proxy refuses to go to itself.
        proxy = self.bothways(f"""
process {{ resolver {{ server "{dns.at}"; hosts #false; }} }}
forward "127.0.0.1:{out}" {{
    tls {self.pair.kdl}
    ports any
    allow to="shop.test" special=#true
}}
""", name="out/bothways.kdl")
        through = (f"--proxy-server=https://proxy.test:{out}", "--proxy-bypass-list=<-loopback>")
        report = self.page_reports(*through, f"https://shop.test:{self.port}/album")
        self.assertEqual(report, {"objects": 100, "protocols": ["h2"]})
        target = f"shop.test:{self.port}"
        record = proxy.wait_for_record(method="CONNECT", direction="forward", target=target)
        self.assertEqual((record["version"], record["status"]), ("HTTP/2.0", 200), record)
