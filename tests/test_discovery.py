"""Endpoints that come and go: services, addresses of a name, a file, and by hand."""

import json
import os

from harness.clients import Load, ask_for, request
from harness.origins import Dns, Scripted, says
from harness.programs import free_port, wait_until
from harness.story import Story, needs


TOKEN = "a-token-of-some-length"


class Discovery(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"

    def origin(self, text, host="127.0.0.1", port=0):
        origin = Scripted(says(text), host, port)
        self.addCleanup(origin.stop)
        return origin

    def answers(self, count=60):
        """What is answered. With a load beside it that is chance: so many that each endpoint is among them."""
        return {request(self.at)[2] for _ in range(count)}

    def wait_for_answers(self, *expected, patience=15):
        wait_until(lambda: self.answers() == set(expected), f"answers of {expected}", patience)

    def load(self, *good):
        return Load(self.at, 4, ask_for("/", lambda body: body in good))

    def test_services_and_addresses_under_load(self):
        """SRV records and the addresses of a name change; no client notices."""
        port = free_port()
        apples, pears = self.origin(b"apples", "127.0.0.1", port), self.origin(b"pears", "127.0.0.2", port)
        plums = self.origin(b"plums")
        service = "_http._tcp.fruit.test"
        dns = Dns(
            {"one.test": "127.0.0.1", "many.test": "127.0.0.1"},
            ttl=1,
            services={service: [(0, 1, plums.port, "one.test")]},
        )
        self.addCleanup(dns.stop)
        proxy = self.bothways(f"""
process {{ resolver {{ server "{dns.at}"; hosts #false; }} }}
site {{
    listen "{self.at}"
    to fruit
}}
upstream fruit {{
    to "many.test:{port}"
    srv "{service}"
    balance round-robin
}}
""")
        self.assertEqual(self.answers(), {b"apples", b"plums"}, "the services are known when it is ready")
        load = self.load(b"apples", b"pears", b"plums")
        dns.names["many.test"] = ["127.0.0.2", "127.0.0.1"]
        self.wait_for_answers(b"apples", b"pears", b"plums")
        dns.services[service] = [(0, 1, port, "one.test")]
        self.wait_for_answers(b"apples", b"pears")
        dns.names["many.test"] = "127.0.0.2"
        dns.services[service] = [(7, 1, plums.port, "one.test")]
        self.wait_for_answers(b"pears")
        dns.names["many.test"] = None
        proxy.wait_for_event("what was found last stays in use")
        self.assertEqual(self.answers(), {b"pears"})
        load.stop()
        self.assertEqual(load.failures, [])
        self.assertTrue(apples.accepted and pears.accepted)

    def test_a_file_of_endpoints(self):
        """A file that is replaced, broken, and put right; no client notices."""
        apples, pears = self.origin(b"apples"), self.origin(b"pears")

        def replace(text):
            self.write("new.json", text).rename(self.directory / "fruit.json")

        replace(json.dumps([{"address": apples.at}]))
        proxy = self.bothways(f"""
site {{
    listen "{self.at}"
    to fruit
}}
upstream fruit {{
    endpoints "fruit.json"
    balance round-robin
}}
""")
        self.assertEqual(self.answers(), {b"apples"})
        load = self.load(b"apples", b"pears")
        replace(json.dumps({"endpoints": [{"address": apples.at}, {"address": pears.at, "weight": 2}]}))
        self.wait_for_answers(b"apples", b"pears")
        replace('{"endpoints": [\n  {"address": "127.0.0.1:1", "weight": 0}\n]}')
        event = proxy.wait_for_event("the file of endpoints cannot be used")
        self.assertEqual(event["level"].lower(), "error")
        self.assertEqual(event["error"], "line 2, column 40: endpoints[0].weight: must be a number from 1 to 1000")
        self.assertEqual(self.answers(), {b"apples", b"pears"})
        replace(json.dumps([{"address": pears.at}]))
        self.wait_for_answers(b"pears")
        load.stop()
        self.assertEqual(load.failures, [])

    @needs("curl")
    def test_by_hand_with_curl(self):
        """Endpoints are added, drained, weighted and removed under load, and written back."""
        apples, pears = self.origin(b"apples"), self.origin(b"pears")
        socket = self.directory / "admin.sock"
        proxy = self.bothways(f"""
process {{ admin "unix:{socket}"; }}
site {{
    listen "{self.at}"
    to fruit
}}
// Fruit, by weight.
upstream fruit {{
    to "{apples.at}" // the first
    balance round-robin
}}
""")
        page = "http://localhost/upstreams/fruit"

        def change(method, part, body=None):
            data = ["-d", json.dumps(body)] if body is not None else []
            accept = ["-H", "Accept: application/json"]
            return self.curl_json("--fail-with-body", "--unix-socket", socket, "-X", method, *accept, *data, page + part)

        load = self.load(b"apples", b"pears")
        added = change("POST", "/endpoints", {"address": pears.at, "weight": 3})
        self.assertEqual((added["before"], added["after"]["weight"]), (None, 3))
        self.assertEqual([request(self.at)[2] for _ in range(100)].count(b"apples") > 0, True)
        change("PATCH", f"/endpoints/{apples.at}", {"drain": True})
        proxy.wait_for_event("the endpoint is drained")
        self.assertEqual(self.answers(), {b"pears"})
        listed = change("GET", "/endpoints")["endpoints"]
        told = [(one["address"], one["origin"], one["standing"], one["drained"]) for one in listed]
        self.assertEqual(told, [(apples.at, "configuration", "draining", True), (pears.at, "added at run time", "up", False)])
        diff = self.curl("--unix-socket", socket, f"{page}/diff").out
        self.assertIn(f'-to "{apples.at}"\n+to "{apples.at}" drain=#true\n', diff)
        os.chmod(proxy.config, 0o640)
        self.assertEqual(len(change("POST", "/save")["saved"]), 2)
        text = proxy.config.read_text()
        self.assertIn(f'to "{apples.at}" drain=#true // the first', text)
        self.assertIn(f'to "{pears.at}" weight=3', text)
        self.assertEqual(proxy.config.stat().st_mode & 0o777, 0o640)
        self.assertEqual(self.curl("--unix-socket", socket, f"{page}/diff").out, "")
        change("DELETE", f"/endpoints/{apples.at}")
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertEqual(self.answers(), {b"pears"})
        self.bothways_command("upstreams", "revert", "fruit", "--admin", f"unix:{socket}")
        self.bothways_command("upstreams", "undrain", "fruit", apples.at, "--admin", f"unix:{socket}")
        self.wait_for_answers(b"apples", b"pears")
        load.stop()
        self.assertEqual(load.failures, [])
        who = {event["who"] for event in proxy.events() if event["msg"] == "upstream changed at run time"}
        self.assertTrue(all(name.startswith(f"unix uid {os.getuid()} pid ") for name in who), who)

    @needs("curl")
    def test_changes_over_tcp_need_the_token(self):
        apples, admin = self.origin(b"apples"), f"127.0.0.1:{free_port()}"

        def config(token=""):
            return f"""
process {{ admin "{admin}" {token}; }}
site {{
    listen "{self.at}"
    to fruit
}}
upstream fruit {{
    to "{apples.at}"
}}
"""

        def weigh(*fields):
            status = ["-o", os.devnull, "-w", "%{http_code}", "-X", "PATCH", "-d", '{"weight": 2}']
            page = f"http://{admin}/upstreams/fruit/endpoints/{apples.at}"
            return self.curl(*status, *(part for field in fields for part in ("-H", field)), page).out

        proxy = self.bothways(config())
        self.assertEqual(weigh(), "403")
        token = self.write("token", TOKEN + "\n")
        proxy.rewrite(config('token-file="token"'))
        os.chmod(token, 0o644)
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertEqual(weigh(f"Authorization: Bearer {TOKEN}"), "403", "everybody could read it")
        os.chmod(token, 0o600)
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.assertEqual(weigh(), "401")
        self.assertEqual(weigh("Authorization: Bearer another-token-of-some-length"), "401")
        self.assertEqual(weigh(f"Authorization: Bearer {TOKEN}"), "200")
        self.bothways_command("upstreams", "weight", "fruit", apples.at, "3", "--config", proxy.config.name)
        self.assertNotIn(TOKEN, proxy.err.read_text())
