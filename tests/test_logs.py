"""What is said of an exchange is true, and can be read by machines."""

import json
import re
import signal
import socket
import time

from harness.clients import connect, read_to_end, request
from harness.origins import flask, nginx
from harness.programs import free_port, wait_until
from harness.story import Story


class Logs(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.out = f"127.0.0.1:{free_port()}"

    def start_with(self, process):
        return self.bothways(f"""
process {{
    {process}
}}
site "shop.test" {{
    listen "{self.at}"
    route "/none" {{ respond "nothing\\n" status=404 }}
    route "/static/*" {{
        strip-prefix "/static"
        to "{nginx().at}"
    }}
    to "{flask().at}"
}}
forward "{self.out}" {{
    ports any
    deny to="10.0.0.0/8"
    allow to="127.0.0.1"
}}
""")

    def test_json_tells_the_truth(self):
        proxy = self.start_with("")
        body = b"x" * 12_345
        began = time.time()
        (nginx().www / "logged").write_bytes(b"y" * 54_321)
        request(self.at, "POST", "/digest?a=b", body, Host="shop.test", User_Agent='he said "hi"\\', Referer="http://a/")
        request(self.at, target="/static/logged", Host="shop.test")
        request(self.at, target="/none", Host="shop.test")
        request(self.at, "HEAD", "/static/logged", Host="shop.test")
        self.curl("-x", self.out, f"http://{nginx().at}/hello")
        self.curl("-x", self.out, "-o", "/dev/null", f"http://10.1.2.3:{nginx().port}/")
        self.curl("-p", "-x", self.out, f"http://{nginx().at}/logged", "-o", "/dev/null")

        posted = proxy.wait_for_record(method="POST")
        self.assertEqual(
            {key: posted[key] for key in ("direction", "scope", "route", "status", "client", "listener",
                                          "request_body_bytes", "endpoint", "version", "target")},
            {"direction": "reverse", "scope": "shop.test", "route": "/*", "status": 200, "client": "127.0.0.1",
             "listener": self.at, "request_body_bytes": 12_345, "endpoint": flask().at, "version": "HTTP/1.1",
             "target": "http://shop.test/digest?a=b"},
        )
        self.assertEqual((posted["user_agent"], posted["referer"]), ('he said "hi"\\', "http://a/"))
        self.assertGreater(posted["received_bytes"], 12_345)
        self.assertGreater(posted["sent_bytes"], posted["response_body_bytes"])
        self.assertLessEqual(posted["first_byte_us"], posted["total_us"])
        self.assertRegex(posted["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        said = time.mktime(time.strptime(posted["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
        self.assertLess(abs(said - began), 5)

        static = proxy.wait_for_record(method="GET", route="/static/*")
        self.assertEqual((static["status"], static["response_body_bytes"]), (200, 54_321))
        self.assertEqual((static["endpoint"], static["reused"]), (nginx().at, False))
        self.assertEqual(static["decided"], "bothways.kdl:8")
        ours = proxy.wait_for_record(status=404)
        self.assertEqual((ours["response_body_bytes"], ours["decided"]), (8, "bothways.kdl:7"))
        self.assertNotIn("endpoint", ours)
        head = proxy.wait_for_record(method="HEAD")
        self.assertEqual((head["status"], head["response_body_bytes"]), (200, 0))
        plain = proxy.wait_for_record(direction="forward", status=200, method="GET")
        self.assertEqual((plain["decided"], plain["dialled"]), ("bothways.kdl:17", nginx().at))
        denied = proxy.wait_for_record(status=403)
        self.assertEqual((denied["decided"], denied["error"]), ("bothways.kdl:16", "http_request_denied"))
        tunnel = proxy.wait_for_record(method="CONNECT")
        self.assertTrue(tunnel["tunnel"])
        self.assertGreater(tunnel["response_body_bytes"], 54_321)
        self.assertEqual(len(proxy.records()), 7, "one record for each exchange")

    def test_hostile_texts_stay_in_their_line(self):
        proxy = self.start_with("")
        with connect(self.at) as client:
            client.sendall(b"GET /none?%0a%22&\"<>'{}|\\^` HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: a\xff\xfe\tb\"},{\"c\":\"\r\n"
                           b"Connection: close\r\n\r\n")
            read_to_end(client)
        with connect(self.at) as client:
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n")
            read_to_end(client)
        wait_until(lambda: len(proxy.records()) == 2, "two records, each a line of JSON")

    def test_combined(self):
        log = self.directory / "access.log"
        self.start_with(f'log access="{log}" format=combined')
        request(self.at, target="/static/hello?x=1", Host="shop.test", User_Agent='a "b"', Referer="http://r/")
        pattern = (r'^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET /static/hello\?x=1 HTTP/1\.1" '
                   r'200 6 "http://r/" "a .*b.*"\n$')
        text = wait_until(lambda: log.exists() and log.read_text(), "a line is written")
        self.assertRegex(text, pattern)

    def test_rotation(self):
        log = self.directory / "access.log"
        proxy = self.start_with(f'log access="{log}"')
        targets = lambda path: [json.loads(line)["target"] for line in path.read_text().splitlines()] if path.exists() else []
        request(self.at, target="/none?1", Host="shop.test")
        wait_until(lambda: len(targets(log)) == 1, "the first line is written")
        old = log.rename(self.directory / "access.log.1")
        proxy.send(signal.SIGUSR1)
        wait_until(log.exists, "the file is made anew")
        request(self.at, target="/none?2", Host="shop.test")
        wait_until(lambda: targets(log) == ["http://shop.test/none?2"], "the new file has the second line")
        self.assertEqual(targets(old), ["http://shop.test/none?1"])

    def test_admin(self):
        admin = f"127.0.0.1:{free_port()}"
        proxy = self.start_with(f'admin "{admin}"')
        for _ in range(5):
            request(self.at, target="/static/hello", Host="shop.test")
        proxy.wait_for_record(route="/static/*")
        status, fields, body = request(admin, target="/metrics")
        self.assertEqual(status, 200)
        for line in body.decode().splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \w+ .*|\w+(\{[^{}]*\})? [-+.\deE]+(inf|nan)?)$')
        self.assertRegex(body.decode(), r'(?m)^bothways_\w*(requests|exchanges)\w*\{[^}]*\} 5$')
        self.assertEqual(request(admin, target="/healthz")[0], 200)
        self.assertEqual(request(admin, target="/readyz")[0], 200)
        self.assertIn(nginx().at.encode(), request(admin, target="/config")[2])
        # A page of somebody else's, open in a browser on this machine, must not get in.
        for fields in ({"Host": "evil.test"}, {"Origin": "http://evil.test"}):
            self.assertIn(request(admin, target="/config", **fields)[0], (400, 403, 421))

    def test_a_trusted_proxy_and_the_proxy_protocol(self):
        self.bothways(f"""
listen "{self.at}" {{ proxy-protocol required; }}
listen "{self.out}" {{ trusted-proxy "127.0.0.0/8"; }}
site {{
    listen "{self.at}" "{self.out}"
    to "{flask().at}"
}}
""")
        with connect(self.at) as client:
            client.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5555 80\r\nGET /seen HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = read_to_end(client).decode()
        self.assertRegex(answer, r'(?i)\["X-Forwarded-For","192\.0\.2\.7"\]')
        with connect(self.at) as client:
            client.sendall(b"GET /seen HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertNotIn(b" 200 ", read_to_end(client), "it is required")
        _, _, body = request(self.out, target="/seen", X_Forwarded_For="192.0.2.9")
        self.assertRegex(re.sub(r"\s", "", body.decode()), r'(?i)\["X-Forwarded-For","192\.0\.2\.9,127\.0\.0\.1"\]')


class SeveralLogs(Story):
    """Each site, route and forward listener may have its own."""

    def test_each_to_its_own(self):
        at, out = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        logs = {name: self.directory / f"{name}.log" for name in ("all", "shop", "text", "vhost", "out")}
        syslog = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(syslog.close)
        syslog.bind(("127.0.0.1", 0))
        syslog.settimeout(20)
        self.bothways(f"""
process {{ log access="{logs["all"]}" }}
site "shop.test" {{
    listen "{at}"
    log access="{logs["shop"]}" fields="status,route"
    route "/quiet" {{ log access=off; respond "quiet\\n"; }}
    route "/syslog" {{ log access="syslog:udp:127.0.0.1:{syslog.getsockname()[1]}"; respond; }}
    respond "shop\\n"
}}
site "text.test" {{
    listen "{at}"
    log access="{logs["text"]}" format="{{status}} {{uri}} '{{field:X-Say}}' '{{response:X-Add}}' {{error}} {{host}}"
    response {{ set "X-Add" "added"; }}
    to "{nginx().at}"
}}
site "vhost.test" {{ listen "{at}"; log access="{logs["vhost"]}" format=vhost-combined; respond; }}
site "*" {{ listen "{at}"; respond; }}
forward "{out}" {{ log access="{logs["out"]}" format="{{direction}} {{target}} {{status}}"; ports any; allow to="127.0.0.1"; }}
""")
        for host, target in [("shop.test", "/a"), ("shop.test", "/quiet"), ("shop.test", "/syslog"),
                             ("text.test", "/hello?x=1"), ("vhost.test", "/"), ("nobody.test", "/")]:
            request(at, target=target, Host=host, X_Say='say "hi"')
        self.curl("-x", out, f"http://{nginx().at}/hello")

        def lines(name):
            return wait_until(lambda: logs[name].exists() and logs[name].read_text(), f"{name} has a line")

        self.assertEqual(lines("shop"), '{"route":"/*","status":200}\n')
        self.assertEqual(lines("text"), r"200 /hello?x=1 'say \"hi\"' 'added' - text.test" + "\n")
        self.assertRegex(lines("vhost"), rf'^vhost\.test:{at.split(":")[1]} 127\.0\.0\.1 - - \[.*\] "GET / HTTP/1\.1" 200 - "-" "-"\n$')
        self.assertEqual(lines("out"), f"forward http://{nginx().at}/hello 200\n")
        self.assertEqual([json.loads(line)["scope"] for line in lines("all").splitlines()], ["*"])
        said = syslog.recv(10_000).decode()
        self.assertRegex(said, r"^<190>1 \d{4}-\d\d-\d\dT[\d:.]+Z \S+ bothways \d+ - - \{")
        self.assertEqual(json.loads(said[said.index("{"):])["route"], "/syslog")

    def test_a_log_that_cannot_be_opened_has_its_place(self):
        config = f"""
process {{ log access="{self.directory}/nowhere/access.log" }}
site {{
    listen "127.0.0.1:{free_port()}"
    log access="{self.directory}" format=combined
    respond
}}
"""
        path = self.write("bothways.kdl", config)
        for command in ("check", "run"):
            said = self.bothways_command(command, "--config", path, code=78).err
            self.assertRegex(said, r"bothways\.kdl:2:\d+: .*nowhere/access\.log` cannot be opened: there is no directory")
            self.assertRegex(said, r"bothways\.kdl:5:\d+: .*cannot be opened: it is a directory")

    def test_bytes_for_the_other_kind_of_port(self):
        clear, secure = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        proxy = self.bothways(f"""
process {{ state "{self.directory / "state"}" }}
site {{ listen "{clear}"; respond; }}
site "a.test" {{ listen "{secure}"; redirect-http off; tls internal; respond; }}
""")
        with connect(clear) as client:
            client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a ClientHello")
            self.assertIn(b"HTTP/1.1 400 ", read_to_end(client))
        record = proxy.wait_for_record(error="client_tls_error", status=400, listener=clear)
        self.assertTrue(record["detail"].startswith("TLS on a clear port"), record)
        self.assertEqual(record["decided"], "bothways.kdl:3")
        with connect(secure) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            answer = read_to_end(client)
            self.assertIn(b"HTTP/1.1 400 ", answer)
            self.assertIn(b"use https://", answer)
        record = proxy.wait_for_record(error="client_tls_error", status=400, listener=secure)
        self.assertTrue(record["detail"].startswith("clear bytes on a TLS port"), record)
        self.assertEqual(record["decided"], "bothways.kdl:4")
