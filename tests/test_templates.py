"""Variables, maps, request ids and reuse, as a client and a server see them."""

import json
import re
import urllib.parse

from harness.clients import connect, read_to_end, request
from harness.origins import flask
from harness.programs import free_port
from harness.story import Story
from harness.tls import Authority

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Templates(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.behind = f"127.0.0.1:{free_port()}"
        self.write("token.txt", "k-123\n")
        self.write("snippets/common.kdl", 'response { set "X-Common" "{plan}"; }\n')
        self.text = f"""
map plan "{{header:X-Plan}}" {{
    "gold" "fast"
    "silver*" "medium {{level}}"
    ~ "^b" "slow"
    default "none"
}}
map level "{{query:level}}" {{ "1" "one"; default "other"; }}
define seen {{
    request {{
        set "X-Class" "{{plan}}"
        set "X-Session" "{{cookie:session}}"
        set "X-Uri" "{{uri}}"
        set "X-Ports" "{{port}} {{client-port}}"
        set "Authorization" "Bearer {{file:token.txt}}"
        set "X-Home" "{{env:HOME}}"
    }}
}}
defaults {{ request-id on; response {{ set "X-Default" "{{method}}"; }}; }}
listen "{self.behind}" {{ trusted-proxy "127.0.0.1"; }}
site "shop.test" {{
    listen "{self.at}" "{self.behind}"
    use seen
    include "snippets/*.kdl"
    route "/login" {{ redirect "https://login.test/?next={{uri}}" status=302; }}
    route "/to/*" {{ redirect "/item/{{field:X-Item}}/{{rest}}" status=302; }}
    route "/page" {{ respond "<p title='{{query:q}}'>{{field:X-Item}}</p>" type="text/html"; }}
    route "/json" {{ respond #"{{"item": "{{field:X-Item}}", "a": {{"b": 1}}}}"# type="application/json"; }}
    route "/text" {{ respond "{{{{braces}}}} {{host}} {{request-id}}\\n"; }}
    route "/sent/*" {{ rewrite "/seen/{{cookie:session}}/{{rest}}"; to "{flask().at}"; }}
    to "{flask().at}"
}}
site "quiet.test" {{
    listen "{self.at}"
    request-id off
    to "{flask().at}"
}}
"""

    def get(self, target, *arguments, host="shop.test", at=None):
        return self.curl("--path-as-is", "-H", f"Host: {host}", *arguments, f"http://{at or self.at}{target}").out

    def seen(self, target, *arguments, **more):
        seen = json.loads(self.get(target, *arguments, **more))
        return seen, {name.lower(): value for name, value in seen["fields"]}

    def test_what_the_server_sees(self):
        proxy = self.bothways(self.text)
        seen, fields = self.seen("/seen/a/../b?x=1&level=1", "-H", "X-Plan: silver-7", "-b", "a=1; session=s 2")
        self.assertEqual(fields["x-class"], "medium one")
        self.assertEqual(fields["x-session"], "s 2")
        self.assertEqual(fields["x-uri"], "/seen/a/../b?x=1&level=1")
        self.assertEqual(fields["authorization"], "Bearer k-123")
        ports = fields["x-ports"].split()
        self.assertEqual(ports[0], self.at.split(":")[1])
        self.assertRegex(fields["x-request-id"], UUID)
        record = proxy.wait_for_record(request_id=fields["x-request-id"])
        self.assertEqual(record["port"], int(ports[1]))
        for plan, expected in [("gold", "fast"), ("Gold", "none"), ("bronze", "slow"), ("", "none")]:
            self.assertEqual(self.seen("/seen", "-H", f"X-Plan: {plan}")[1]["x-class"], expected)

    def test_the_id_is_one(self):
        proxy = self.bothways(self.text)
        status, head, body = request(self.at, target="/seen", Host="shop.test", X_Request_Id="mine")
        fields = {name.lower(): value for name, value in json.loads(body)["fields"]}
        self.assertEqual((status, head["x-request-id"]), (200, fields["x-request-id"]))
        self.assertRegex(head["x-request-id"], UUID)
        self.assertEqual((head["x-default"], head["x-common"]), ("GET", "none"))
        # A trusted proxy's is taken, if it is one.
        for sent, taken in [("abc=1;d", True), ("x" * 128, True), ("x" * 129, False), ("a b", False)]:
            head = request(self.behind, target="/seen", Host="shop.test", X_Request_Id=sent)[1]
            self.assertEqual(head["x-request-id"] == sent, taken, sent)
        proxy.wait_for_record(request_id="abc=1;d")
        # Where it is off, nothing makes one; what a client sends passes.
        status, head, body = request(self.at, target="/seen?quiet", Host="quiet.test", X_Request_Id="mine")
        self.assertNotIn("x-request-id", head)
        self.assertIn("mine", body.decode())
        self.assertNotIn("request_id", proxy.wait_for_record(target="http://quiet.test/seen?quiet"))
        text = self.get("/text")
        self.assertRegex(text, r"^\{braces\} shop.test " + UUID.pattern)
        proxy.wait_for_record(request_id=text.split()[2])

    def test_clients_stay_within(self):
        self.bothways(self.text)

        def location(target, *arguments):
            return self.get(target, "-o", "/dev/null", "-w", "%{redirect_url}", *arguments)

        next_ = location("/login?a=b&c=%26#f")
        self.assertEqual(urllib.parse.parse_qs(urllib.parse.urlsplit(next_).query)["next"], ["/login?a=b&c=%26"])
        item = "X-Item: ../../<script>\"'&?#//evil.test"
        found = location("/to/x", "-H", item)
        self.assertTrue(found.startswith(f"http://{self.at}/item/") and found.endswith("/x"), found)
        self.assertEqual(urllib.parse.urlsplit(found).path.count("/"), 3, found)
        self.assertNotIn("..", urllib.parse.urlsplit(location("/to/x", "-H", "X-Item: ..")).path)
        page = self.get("/page?q='onclick=alert(1)", "-H", item)
        self.assertNotIn("<script", page)
        self.assertEqual(page.count("'"), 2, page)
        answer = json.loads(self.get("/json", "-H", item))
        self.assertEqual(answer, {"item": item.removeprefix("X-Item: "), "a": {"b": 1}})
        self.assertEqual(self.seen("/sent/y", "-b", "session=a/b")[0]["path"], "/seen/a%2Fb/y")
        status = self.get("/sent/y", "-b", "session=..", "-o", "/dev/null", "-w", "%{http_code}")
        self.assertEqual(status, "400")
        # The head of an answer is one head, whatever is in a request.
        with connect(self.at) as client:
            client.sendall(b"GET /to/%0d%0aX-Evil:%20y HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n"
                           b"X-Item: a%0d%0aX-Evil: y\r\n\r\n")
            answer = read_to_end(client).decode()
        self.assertNotIn("\r\nX-Evil", answer)

    def test_client_certificates(self):
        authority = Authority(self.directory)
        server = authority.issue("server", "shop.test")
        client = authority.issue("client", "someone.test", client=True)
        self.bothways(f"""
site "shop.test" {{
    listen "{self.at}"
    tls cert="{server.certificate}" key="{server.key}" {{ client request ca="{authority.ca}"; }}
    respond "{{client-cert}}\\n"
}}
""")
        name, port = "shop.test", self.at.split(":")[1]
        arguments = ["--cacert", authority.ca, "--connect-to", f"{name}:{port}:{self.at}"]
        shown = ["--cert", client.certificate, "--key", client.key]
        got = self.curl(*arguments, *shown, f"https://{name}:{port}/").out
        pem = client.certificate.read_text()
        pem = pem[pem.index("-----BEGIN"):]
        self.assertEqual(urllib.parse.unquote(got).strip(), pem.strip())
        self.assertEqual(self.curl(*arguments, f"https://{name}:{port}/").out, "\n")

    def test_commands(self):
        file = self.write("bothways.kdl", self.text + """
expect "GET http://shop.test/login?a=b" location="https://login.test/?next=%2Flogin%3Fa%3Db"
""")
        self.assertIn("1 of 1 expectation", self.bothways_command("check", "--config", file.name).out)
        shown = self.bothways_command("show", "--config", file.name).out
        self.assertNotIn("k-123", shown)
        self.assertIn("{field:X-Plan}", shown)
        self.assertIn("snippets/common.kdl:1", shown)
        told = self.bothways_command("explain", "--config", file.name, "-H", "X-Plan: gold",
                                     f"http://shop.test:{self.at.split(':')[1]}/x").out
        self.assertIn("X-Request-Id: REQUEST-ID", told)
        self.assertIn("X-Class: fast", told)
        self.assertEqual(self.bothways_command("fmt", "--help").code, 0)
        (self.directory / "token.txt").unlink()
        failed = self.bothways_command("check", "--config", file.name, code=None)
        self.assertIn("token.txt` cannot be read", failed.out + failed.err)
