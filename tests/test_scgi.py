"""A WSGI application behind a real SCGI server."""

import hashlib
import json

from harness.clients import request
from harness.origins import Wiki
from harness.programs import free_port
from harness.story import Story


class Scgi(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"

    def wiki(self, at=None):
        """The application, and a proxy before it."""
        wiki = Wiki(self.directory, at)
        self.addCleanup(wiki.stop)
        self.bothways(f"""
upstream wiki {{ to "{wiki.at}"; protocol scgi; health tcp every="200ms"; }}
site {{
    listen "{self.at}"
    request {{ set "X-Wiki" "yes"; }}
    route "/wiki/*" {{ strip-prefix "/wiki"; to wiki; }}
    to wiki
}}
""")

    def test_an_application_at_a_port(self):
        self.wiki()
        url = f"http://{self.at}"
        seen = self.curl_json(f"{url}/wiki/a%20b/%C3%A4?q=%20x", "-H", "X-Odd: 1", "-H", "X_Odd: 2", "-H", "Proxy: x")
        told = {
            "PATH_INFO": "/a b/ä".encode().decode("latin-1"),
            "SCRIPT_NAME": "",
            "REQUEST_URI": "/wiki/a%20b/%C3%A4?q=%20x",
            "QUERY_STRING": "q=%20x",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PORT": self.at.split(":")[1],
            "SERVER_NAME": "127.0.0.1",
            "HTTP_HOST": self.at,
            "HTTP_X_ODD": "1",
            "HTTP_X_WIKI": "yes",
        }
        self.assertEqual({name: seen.get(name) for name in told}, told)
        self.assertNotIn("HTTP_PROXY", seen)
        self.assertEqual(request(self.at, target="/moved")[0], 302)
        self.assertEqual(len(self.curl(f"{url}/pieces").out), sum(1000 * len(f"{n}\n") for n in range(1000)))

        body = b"x" * 5_000_000
        (self.directory / "body").write_bytes(body)
        sent = self.curl_json("--data-binary", f"@{self.directory}/body", "-H", "Expect:", f"{url}/digest")
        self.assertEqual(sent, {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()})
        # Of unknown length: in chunks, up to a bound.
        chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Expect:")
        sent = self.curl_json(*chunked, "--data-binary", "hello", f"{url}/digest")
        self.assertEqual(sent, {"length": 5, "sha256": hashlib.sha256(b"hello").hexdigest()})
        refused = self.curl(*chunked, "-w", "%{http_code}", "--data-binary", f"@{self.directory}/body", f"{url}/digest")
        self.assertIn("413", refused.out)

    def test_explain_prints_what_the_application_gets(self):
        self.wiki(f"unix:{self.directory}/wiki.sock")
        url = f"http://{self.at}/wiki/a%20b?q=1"
        fields = ("-H", "X-Odd: 1", "-H", "Accept: */*", "-H", "User-Agent: x")
        seen = self.curl_json(*fields, url)
        told = json.loads(self.bothways_command("explain", "--json", *fields, "--from", "127.0.0.1", url).out)
        told = dict(line.split("=", 1) for line in told["head"])
        # What is of this connection alone; and what flup adds for itself.
        self.assertIn("REMOTE_PORT", seen)
        self.assertEqual(told, {name: value for name, value in seen.items() if name in told})
        added = {name for name in seen if name not in told}
        self.assertEqual({name for name in added if name.startswith("HTTP")}, set())
        text = self.bothways_command("explain", *fields, url).out
        self.assertRegex(text, r"HTTP_X_WIKI=yes +<- .*bothways.kdl:\d+")
