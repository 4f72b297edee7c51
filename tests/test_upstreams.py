"""Several endpoints, names whose addresses change, other ways to listen and to connect."""

import os
import re
import signal
import socket

from harness.bothways import Bothways
from harness.clients import Load, ask_for, connect, read_to_end, request
from harness.origins import Dns, Nginx, Scripted, flask, nginx, says
from harness.programs import free_port, wait_until
from harness.story import Story, needs


class Upstreams(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"

    def origin(self, text, host="127.0.0.1", port=0):
        origin = Scripted(says(text), host, port)
        self.addCleanup(origin.stop)
        return origin

    # Several.

    def test_each_in_turn_by_its_weight(self):
        apples, pears = self.origin(b"apples"), self.origin(b"pears")
        self.bothways(f"""
process {{ cores 1; }}
site {{
    listen "{self.at}"
    to fruit
}}
upstream fruit {{
    to "{apples.at}" weight=3
    to "{pears.at}"
    balance round-robin
}}
""")
        answers = [request(self.at)[2] for _ in range(40)]
        self.assertEqual((answers.count(b"apples"), answers.count(b"pears")), (30, 10))
        self.assertNotIn([b"pears"] * 2, [answers[n : n + 2] for n in range(39)])

    def test_one_of_two_is_down(self):
        apples = self.origin(b"apples")
        self.bothways(f'site {{ listen "{self.at}"; to "{apples.at}" "127.0.0.1:{free_port()}"; }}')
        self.assertEqual({request(self.at)[2] for _ in range(20)}, {b"apples"})

    def test_one_of_two_is_killed_under_load(self):
        directories = [self.directory / name for name in ("one", "two")]
        servers = []
        for directory in directories:
            directory.mkdir()
            servers.append(Nginx(directory))
            self.addCleanup(servers[-1].stop)
        proxy = self.bothways(f'site {{ listen "{self.at}"; to "{servers[0].at}" "{servers[1].at}"; }}')
        load = Load(self.at, 6, ask_for("/hello", lambda body: body == b"hello\n"))
        wait_until(lambda: load.good > 500, "the load runs", program=proxy)
        servers[0].stop(signal.SIGKILL)
        so_far = load.good
        wait_until(lambda: load.good > so_far + 1000, "the other one takes it", program=proxy)
        load.stop()
        # What the server held at that moment, on connections so new that they may have been refused
        # for good reason, is lost; whoever asks afterwards is not to notice.
        self.assertLessEqual(len(load.failures), 6, load.failures)

    # Names.

    def test_a_name_whose_address_changes(self):
        port = free_port()
        old = self.origin(b"old", "127.0.0.1", port)
        new = self.origin(b"new", "127.0.0.2", port)
        dns = Dns({"app.test": "127.0.0.1"}, ttl=1)
        self.addCleanup(dns.stop)
        self.bothways(f"""
process {{ resolver {{ server "{dns.at}"; hosts #false; }} }}
site {{
    listen "{self.at}"
    to "app.test:{port}"
}}
""")
        self.assertEqual(request(self.at)[2], b"old")
        dns.names["app.test"] = "127.0.0.2"
        wait_until(lambda: request(self.at)[2] == b"new", "the new address is used", patience=10)
        self.assertTrue(old.accepted and new.accepted)

    def test_a_name_that_is_not_there_yet(self):
        apples = self.origin(b"apples")
        dns = Dns({"app.test": None})
        self.addCleanup(dns.stop)
        self.bothways(f"""
process {{ resolver {{ server "{dns.at}"; hosts #false; }} }}
site {{
    listen "{self.at}"
    route "/other" {{ respond "here\\n"; }}
    to "app.test:{apples.port}"
}}
""")
        self.assertEqual(request(self.at, target="/other")[2], b"here\n")
        self.assertIn(request(self.at)[0], (502, 503, 504))
        dns.names["app.test"] = "127.0.0.1"
        wait_until(lambda: request(self.at)[2] == b"apples", "the name is found", patience=15)

    def test_a_name_that_leads_elsewhere_each_time(self):
        """DNS rebinding: the address that was judged is the one that is dialled."""
        inside = self.origin(b"secret")

        class Rebinding(Dns):
            def answer(self, query):
                self.names["rebind.test"] = "127.0.0.1" if len(self.asked) % 2 else "192.0.2.1"
                return super().answer(query)

        dns = Rebinding({"rebind.test": "192.0.2.1"}, ttl=0)
        self.addCleanup(dns.stop)
        self.bothways(f"""
process {{ resolver {{ server "{dns.at}"; hosts #false; ttl-min "0s"; }} }}
forward "{self.at}" {{
    ports any
    timeouts {{ connect "50ms"; }}
}}
""")
        for _ in range(12):
            told = self.curl("-x", self.at, "-o", "/dev/null", "-w", "%{http_code}", f"http://rebind.test:{inside.port}/")
            self.assertIn(told.out, ("403", "502", "503", "504"))
        self.assertEqual(inside.accepted, 0)

    # Other ways in and out.

    def test_a_unix_socket_behind(self):
        path = self.directory / "app.sock"
        server = Nginx(self.directory, more=f"listen unix:{path};")
        self.addCleanup(server.stop)
        self.bothways(f'site {{ listen "{self.at}"; to "unix:{path}"; }}')
        self.assertEqual(request(self.at, target="/hello")[2], b"hello\n")

    def test_every_address_of_the_machine(self):
        if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
            self.skipTest("no IPv6 here")
        port = free_port()
        proxy = self.bothways(f'site {{ listen ":{port}"; to "{flask().at}"; }}')
        for host, client in (("127.0.0.1", "127.0.0.1"), ("127.0.0.9", "127.0.0.1"), ("[::1]", "::1")):
            told = self.curl_json(f"http://{host}:{port}/seen/{client}")
            fields = {name.lower(): value for name, value in told["fields"]}
            self.assertEqual(fields["x-forwarded-for"], client, "an IPv4 address is written as one")
            self.assertEqual(told["host"], f"{host}:{port}")
            proxy.wait_for_record(client=client, target=f"http://{host}:{port}/seen/{client}")

    def test_one_behind_the_other(self):
        """Two of us: the inner one believes the outer one, and nobody else."""
        inner = Bothways(self.write("inner/inner.kdl", f"""
trusted-proxy "127.0.0.1"
site {{
    listen "127.0.0.1:0"
    to "{flask().at}"
}}
"""))
        self.addCleanup(inner.stop)
        inner.wait_until_ready()
        behind = inner.listening["127.0.0.1:0"]
        self.bothways(f'site {{ listen "{self.at}"; to "{behind}"; }}')
        told = self.curl_json("--interface", "127.0.0.7", "-H", "X-Forwarded-For: 6.6.6.6", f"http://{self.at}/seen")
        fields = {name.lower(): value for name, value in told["fields"]}
        self.assertEqual(re.sub(" ", "", fields["x-forwarded-for"]), "127.0.0.7,127.0.0.1")
        self.assertEqual(inner.wait_for_record(status=200)["client"], "127.0.0.7")

    def test_the_proxy_protocol_of_curl(self):
        self.bothways(f"""
listen "{self.at}" {{ proxy-protocol required; }}
site {{
    listen "{self.at}"
    to "{flask().at}"
}}
""")
        self.curl_json("--haproxy-protocol", f"http://{self.at}/seen")

    def test_clients_that_want_http2_where_it_is_off(self):
        self.bothways(f'listen "{self.at}" {{ http2 off; }}\nsite {{ listen "{self.at}"; to "{nginx().at}"; }}')
        told = self.curl("--http2", "-w", "%{http_version}", f"http://{self.at}/hello").out
        self.assertEqual(told, "hello\n1.1", "the upgrade to h2c is not taken")
        with connect(self.at) as client:
            client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            self.assertRegex(read_to_end(client), rb"^HTTP/1\.1 (400|505) ")

    @needs("wrk")
    def test_a_thousand_connections(self):
        proxy = self.bothways(f'process {{ log access=off; }}\nsite {{ listen "{self.at}"; to "{nginx().at}"; }}')
        told = self.run_command("wrk", "-t1", "-c1000", "-d3s", "--timeout", "20s", f"http://{self.at}/hello").out
        self.assertNotIn("Socket errors", told)
        self.assertNotIn("Non-2xx", told)
        self.assertGreater(int(re.search(r"(\d+) requests in", told).group(1)), 1000)
        self.assertIsNone(proxy.process.poll())
