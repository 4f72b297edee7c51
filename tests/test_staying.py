"""Who gets a request, and what one sees of it: clients that stay, splits, copies, checks, queues, second tries."""

import http.client
import json
import re
import threading

import requests

from harness.clients import Load, ask_for, request
from harness.origins import Nginx, Scripted, content_length, read_head
from harness.programs import PATIENCE, ROOT, free_port, wait_until
from harness.story import Story, needs


class Named(Scripted):
    """Says its name, and remembers what it was asked. While its `gate` is closed it answers nothing."""

    def __init__(self, name, status="200 OK"):
        self.name, self.status = name, status
        self.seen = []
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(self.serve)

    def serve(self, connection):
        while (asked := read_head(connection)) is not None:
            head, body = asked
            while len(body) < (content_length(head) or 0):
                body += connection.recv(65536)
            self.seen.append((head.split(" ")[1], head, body))
            self.gate.wait(PATIENCE)
            answer = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.name)}\r\n\r\n{self.name}"
            connection.sendall(answer.encode())

    def targets(self):
        return [target for target, _, _ in self.seen]

    def stop(self):
        self.gate.set()
        super().stop()


class Served(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.admin = self.directory / "admin.sock"

    def named(self, *names, **more):
        origins = [Named(name, **more) for name in names]
        for origin in origins:
            self.addCleanup(origin.stop)
        return origins

    def nginx(self, name, port=None):
        directory = self.directory / name
        directory.mkdir(exist_ok=True)
        server = Nginx(directory, port=port, more=f'location = /who {{ return 200 "{name}"; }}')
        self.addCleanup(server.stop)
        return server

    def app(self, endpoints, settings="", site="to app", more=""):
        """The proxy, with an upstream of these endpoints."""
        written = "\n".join(f'    to "{one}"' if isinstance(one, str) else f'    to "{one.at}"' for one in endpoints)
        return self.bothways(f"""
process {{ admin "unix:{self.admin}"; }}
site {{
    listen "{self.at}"
    {site}
}}
upstream app {{
{written}
{settings}
}}
{more}
""")

    def upstreams(self, *arguments):
        return self.bothways_command("upstreams", "--admin", f"unix:{self.admin}", *arguments).out

    def seen(self, name="app"):
        """How it stands with an upstream."""
        return json.loads(self.upstreams("--json", "-u", name))["upstreams"][0]

    def state(self, server):
        return next(one["state"] for one in self.seen()["endpoints"] if one["address"] == server.at)

    def metric(self, name, **labels):
        """The sum of what has these labels."""
        text = self.curl("--unix-socket", self.admin, "http://localhost/metrics").out
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        lines = [line for line in text.splitlines() if re.match(re.escape(name) + r"[{ ]", line)]
        return sum(float(line.split()[-1]) for line in lines if all(part in line for part in wanted))

    def in_threads(self, count, ask):
        """Calls `ask(number)` so many times at once; the results in order, as a list that fills."""
        results = [None] * count

        def run(number):
            results[number] = ask(number)

        threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        return results, threads


def join(threads):
    for thread in threads:
        thread.join(PATIENCE)


@needs("curl", "nginx")
class Cookies(Served):
    STICKY = '    balance round-robin\n    sticky "BW" max-age="1h"'

    def who(self, jar):
        return self.curl("-b", jar, "-c", jar, f"http://{self.at}/who").out

    def value(self, jar):
        """The binding in a jar of curl's."""
        lines = [line.split("\t") for line in jar.read_text().splitlines()]
        return next(parts[6] for parts in lines if len(parts) == 7 and parts[5] == "BW")

    def test_curl_stays_and_moves_when_its_server_ends(self):
        servers = {name: self.nginx(name) for name in ("one", "two")}
        self.app(servers.values(), self.STICKY)
        self.assertEqual({request(self.at, target="/who")[2] for _ in range(40)}, {b"one", b"two"}, "others do not stay")
        jar = self.directory / "jar"
        mine = self.who(jar)
        bound = self.value(jar)
        self.assertNotIn("127.0.0.1", bound)
        self.assertEqual({self.who(jar) for _ in range(6)}, {mine})
        self.assertEqual(self.value(jar), bound)
        servers[mine].stop()
        other = ({"one", "two"} - {mine}).pop()
        self.assertEqual({self.who(jar) for _ in range(4)}, {other}, "no error, and a new server")
        moved = self.value(jar)
        self.assertNotEqual(moved, bound)
        self.nginx(mine, servers[mine].port)
        wait_until(lambda: request(self.at, target="/who")[2] == mine.encode(), "it is there again")
        self.assertEqual({self.who(jar) for _ in range(4)}, {other}, "it stays where it went")
        self.assertEqual(self.value(jar), moved)

    def test_a_browser_goes_on_to_a_server_that_drains(self):
        servers = {name: self.nginx(name) for name in ("one", "two")}
        self.app(servers.values(), self.STICKY)
        browser = requests.Session()
        browser.trust_env = False
        url = f"http://{self.at}/who"
        mine = browser.get(url).text
        self.assertEqual(browser.cookies.get_dict().keys(), {"BW"})
        self.upstreams("drain", "app", servers[mine].at)
        other = ({"one", "two"} - {mine}).pop().encode()
        self.assertEqual({request(self.at, target="/who")[2] for _ in range(6)}, {other}, "no new clients")
        self.assertEqual({browser.get(url).text for _ in range(6)}, {mine})
        self.assertEqual(self.state(servers[mine]), "draining")
        self.upstreams("undrain", "app", servers[mine].at)
        self.assertEqual(self.state(servers[mine]), "up")

    def test_a_cookie_of_nobody_is_replaced(self):
        one = self.nginx("one")
        self.app([one], self.STICKY)
        status, fields, _ = request(self.at, target="/who", Cookie="BW=AAAAAAAAAAAAAAAAAAAAAA")
        self.assertEqual(status, 200)
        self.assertRegex(fields["set-cookie"], r"^BW=[\w-]{22}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax$")
        again = request(self.at, target="/who", Cookie=fields["set-cookie"].partition(";")[0])
        self.assertNotIn("set-cookie", again[1])


class Splits(Served):
    def split(self, stay, share):
        return f"""
process {{ admin "unix:{self.admin}"; }}
site {{
    listen "{self.at}"
    split stay={stay} {{
        to app "{100 - share}%"
        to canary "{share}%"
    }}
}}
upstream app {{ to "{self.main.at}"; }}
upstream canary {{ to "{self.canary.at}"; }}
"""

    def setUp(self):
        super().setUp()
        self.main, self.canary = self.named("main", "canary")

    def test_by_a_cookie_and_only_those_move_that_have_to(self):
        proxy = self.bothways(self.split("cookie", 20))
        points = {}
        for _ in range(200):
            _, fields, body = request(self.at)
            point = int(re.match(r"bw-split=(\d+); Path=/; HttpOnly; SameSite=Lax$", fields["set-cookie"])[1])
            self.assertEqual(body, b"canary" if point >= 8000 else b"main")
            points[point] = body
        canaries = sum(point >= 8000 for point in points)
        self.assertTrue(10 < canaries < 80, f"{canaries} of {len(points)}")
        for share in (20, 60):
            proxy.rewrite(self.split("cookie", share))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
            for point, before in points.items():
                status, fields, body = request(self.at, Cookie=f"a=b; bw-split={point}")
                self.assertEqual(body, b"canary" if point >= 10_000 - 100 * share else b"main")
                self.assertNotIn("set-cookie", fields)
                if before == b"canary":
                    self.assertEqual(body, b"canary", "nobody moves back")

    def test_by_address(self):
        self.bothways(self.split("address", 30))

        def ask(number):
            client = http.client.HTTPConnection(self.at, timeout=PATIENCE, source_address=(f"127.0.1.{number}", 0))
            client.request("GET", "/")
            answer = client.getresponse()
            self.assertIsNone(answer.getheader("set-cookie"))
            return answer.read()

        first = [ask(number) for number in range(1, 101)]
        self.assertEqual([ask(number) for number in range(1, 101)], first)
        self.assertTrue(10 <= first.count(b"canary") <= 50, first.count(b"canary"))


class Mirrors(Served):
    def mirrored(self, more=""):
        self.main, self.shadow = self.named("main", "shadow")
        return self.app([self.main], site=f"mirror shadow {more}\n    to app",
                        more=f'upstream shadow {{ to "{self.shadow.at}"; }}')

    def test_copies_arrive(self):
        self.mirrored()
        for number in range(10):
            self.assertEqual(request(self.at, target=f"/{number}")[2], b"main")
        self.assertEqual(request(self.at, "POST", "/post", body=b"x" * 5000)[2], b"main")
        wait_until(lambda: len(self.shadow.seen) >= 11, "the copies")
        self.assertEqual(sorted(self.shadow.targets()), sorted(self.main.targets()))
        self.assertEqual([body for target, _, body in self.shadow.seen if target == "/post"], [b"x" * 5000])
        wait_until(lambda: self.metric("bothways_mirrored_requests_total") == 11, "they are counted")

    def test_one_that_hangs_holds_nobody_up(self):
        self.mirrored("in-flight=2")
        self.shadow.gate.clear()
        for number in range(60):
            self.assertEqual(request(self.at, target=f"/{number}")[:3:2], (200, b"main"))
        self.assertFalse(self.shadow.gate.is_set(), "all were answered while it answered nothing")
        wait_until(lambda: self.shadow.seen, "a copy")
        cores = self.metric("bothways_cores")
        self.assertLessEqual(len(self.shadow.seen), 2 * cores)
        self.assertGreaterEqual(self.metric("bothways_mirrored_requests_total", result="dropped"), 60 - 2 * cores)


@needs("nginx")
class Checks(Served):
    def test_a_server_that_says_it_is_not_well(self):
        servers = [self.nginx("one"), self.nginx("two")]
        healthy = servers[0].www / "healthz"
        for server in servers:
            (server.www / "healthz").write_text("fine")
        proxy = self.app(servers, '    health "/healthz" every="50ms" every-down="50ms" rise=2 fall=2 body="fine"\n    balance round-robin')
        load = Load(self.at, 2, ask_for("/who", lambda body: body in (b"one", b"two")))
        healthy.unlink()
        wait_until(lambda: self.state(servers[0]) == "down", "it is down")
        self.assertEqual({request(self.at, target="/who")[2] for _ in range(6)}, {b"two"})
        self.assertRegex(self.upstreams("--once"), rf"{servers[0].at} +down .*GET /healthz answered 404, expected 200-399")
        self.assertEqual(self.metric("bothways_endpoint_state", endpoint=servers[0].at, state="down"), 1)
        self.assertGreaterEqual(self.metric("bothways_endpoint_checks_bad_total", endpoint=servers[0].at), 2)
        healthy.write_text("fine")
        wait_until(lambda: self.state(servers[0]) == "up", "it is up")
        self.assertEqual({request(self.at, target="/who")[2] for _ in range(40)}, {b"one", b"two"})
        load.stop()
        self.assertEqual(load.failures, [])
        told = [event["msg"] for event in proxy.events() if event.get("endpoint") == servers[0].at]
        self.assertEqual(len(told), 2, told)


class Queues(Served):
    def test_in_order_and_full(self):
        (one,) = self.named("one")
        one.gate.clear()
        proxy = self.bothways(f"""
process {{ admin "unix:{self.admin}"; }}
site {{
    listen "{self.at}"
    to app
}}
upstream app {{
    to "{one.at}" max=1
    queue max=3 wait="100s"
}}
""")
        clients = []
        for number in range(4):
            clients += self.in_threads(1, lambda _, number=number: request(self.at, target=f"/{number}")[0])[1]
            wait_until(lambda: (self.seen()["in_flight"], self.seen()["waiting"]) == (1, number), "it stands in line")
        status, fields, _ = request(self.at, target="/too-many")
        self.assertEqual(status, 503)
        self.assertGreaterEqual(int(fields["retry-after"]), 1)
        self.assertRegex(self.upstreams("--once"), r"app .* 1 in flight .*3 waiting · 1 turned away")
        one.gate.set()
        join(clients)
        self.assertEqual(one.targets(), ["/0", "/1", "/2", "/3"])
        record = proxy.wait_for_record(target=f"http://{self.at}/too-many")
        self.assertEqual((record["error"], record["blame"]), ("queue_full", "policy"))
        usage = self.seen()
        self.assertEqual((usage["waiting"], usage["waited"], usage["turned_away"]), (0, 3, 1))
        self.assertEqual(self.metric("bothways_upstream_waited_total", upstream="app"), 3)
        self.assertEqual(self.metric("bothways_upstream_turned_away_total", upstream="app"), 1)


class Tries(Served):
    def test_statuses_are_asked_again_elsewhere(self):
        (good,) = self.named("good")
        (bad,) = self.named("bad", status="503 Service Unavailable")
        proxy = self.app([bad, good], '    balance first\n    eject off\n    retry budget="100%" { on connect 503; }')
        self.assertEqual(request(self.at, target="/get")[:3:2], (200, b"good"))
        self.assertEqual(request(self.at, "POST", "/post", body=b"x")[:3:2], (503, b"bad"))
        self.assertEqual((good.targets(), bad.targets()), (["/get"], ["/get", "/post"]))
        record = proxy.wait_for_record(target=f"http://{self.at}/get")
        self.assertEqual((record["status"], record["endpoint"], record["retries"]), (200, good.at, 1))
        (before,) = record["tries"]
        self.assertGreaterEqual(before.pop("us"), 0)
        self.assertEqual(before, {"endpoint": bad.at, "reason": "status", "status": 503})
        self.assertNotIn("tries", proxy.wait_for_record(target=f"http://{self.at}/post"))
        self.assertEqual(self.metric("bothways_upstream_retries_total", endpoint=bad.at, reason="status"), 1)

    def test_a_second_one_beside_a_slow_one(self):
        slow, quick = self.named("slow", "quick")
        proxy = self.app([slow, quick], '    balance round-robin\n    eject off\n    hedge "300ms"\n    retry budget="100%"')
        slow.gate.clear()
        for number in range(8):
            self.assertEqual(request(self.at, target=f"/{number}")[:3:2], (200, b"quick"))
        self.assertFalse(slow.gate.is_set(), "all were answered while it answered nothing")
        record = proxy.wait_for_record(hedge="won")
        self.assertEqual(record["endpoint"], quick.at)
        self.assertEqual([(one["endpoint"], one["reason"]) for one in record["tries"]], [(slow.at, "slow")])
        # The slow one may not have read yet what it was asked.
        won = lambda: self.metric("bothways_upstream_hedges_won_total", endpoint=quick.at)  # noqa: E731
        wait_until(lambda: won() == len(slow.seen), "each that it was asked was won by the other")
        self.assertGreaterEqual(won(), 3)


class Keys(Served):
    def test_a_user_stays_and_explain_knows_where(self):
        origins = self.named("one", "two", "three")
        by_at = {origin.at: origin.name for origin in origins}
        ring = '    balance ring { by cookie="user"; by address; }'
        proxy = self.app(origins, ring)
        users = [f"user-{number}" for number in range(40)]

        def whom():
            return {user: request(self.at, Cookie=f"user={user}")[2].decode() for user in users}

        before = whom()
        self.assertEqual(set(before.values()), {"one", "two", "three"})
        self.assertEqual(whom(), before)
        for user in users[:6]:
            field = ("-H", f"Cookie: a=b; user={user}")
            told = json.loads(self.bothways_command("explain", "--json", *field, f"http://{self.at}/").out)
            choices = told["endpoints"][0]["choices"]
            self.assertEqual(by_at[choices[0]["endpoint"]], before[user])
            text = self.bothways_command("explain", *field, f"http://{self.at}/").out
            self.assertRegex(text, rf"picked in app, by ring.*\n  {choices[0]['endpoint']} ")
        # One leaves: its users move, and nobody else.
        proxy.rewrite(proxy.config.read_text().replace(f'    to "{origins[0].at}"\n', ""))
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        after = whom()
        self.assertEqual({user for user in users if after[user] != before[user]},
                         {user for user in users if before[user] == "one"})


class Pages(Served):
    FAMILIES = """
bothways_endpoint_checks_bad_total bothways_endpoint_checks_good_total bothways_endpoint_ejections_total
bothways_endpoint_first_byte_seconds bothways_endpoint_in_flight bothways_endpoint_latency_seconds
bothways_endpoint_ramp bothways_endpoint_state bothways_mirrored_requests_total
bothways_upstream_connecting bothways_upstream_connections_failed_total bothways_upstream_connections_idle
bothways_upstream_connections_moved_total bothways_upstream_connections_open
bothways_upstream_connections_opened_total bothways_upstream_connections_reused_total
bothways_upstream_connections_shared bothways_upstream_hedges_total bothways_upstream_hedges_won_total
bothways_upstream_in_flight bothways_upstream_limit bothways_upstream_requests_total
bothways_upstream_retries_over_budget_total bothways_upstream_retries_total bothways_upstream_retry_budget
bothways_upstream_retry_budget_used bothways_upstream_turned_away_total bothways_upstream_waited_total
bothways_upstream_waiting
"""

    def test_tell_the_truth_of_a_server_that_is_gone(self):
        (well,) = self.named("well")
        gone = f"127.0.0.1:{free_port()}"
        proxy = self.app([well, gone], '    balance round-robin\n    eject consecutive=3 term="5min"\n    breaker in-flight=99')
        self.assertEqual({request(self.at)[0] for _ in range(20)}, {200})
        app = self.seen()
        self.assertEqual([one["address"] for one in app["endpoints"]], [well.at, gone])
        self.assertEqual((app["name"], app["algorithm"], app["limit"]), ("app", "round-robin", 99))
        up, ejected = app["endpoints"]
        self.assertEqual((up["state"], up["why"], up["failures"]), ("up", None, []))
        self.assertEqual((ejected["state"], ejected["ejections"], len(ejected["failures"])), ("ejected", 1, 3))
        self.assertRegex(ejected["why"], r"^failed 3 times in a row: cannot connect to .*refused")
        self.assertTrue(0 < ejected["ejected_for_seconds"] <= 300)
        self.assertEqual(self.metric("bothways_endpoint_ejections_total", endpoint=gone), 1)
        self.assertEqual(self.metric("bothways_upstream_retries_total", endpoint=gone, reason="connect"), 3)
        # A client has its answer a moment before the exchange is counted.
        wait_until(lambda: self.metric("bothways_upstream_requests_total", endpoint=well.at, code="2xx") == 20, "all are counted")
        event = proxy.wait_for_event("endpoint is ejected")
        self.assertEqual((event["upstream"], event["endpoint"], event["why"]), ("app", gone, ejected["why"]))
        record = proxy.wait_for_record(retries=1)
        self.assertEqual([(one["endpoint"], one["reason"], one["error"]) for one in record["tries"]],
                         [(gone, "connect", "connection_refused")])
        table = self.upstreams("--once", "-u", "app")
        self.assertRegex(table, r"\Aapp  round-robin  0 in flight of 99 · retries \d+ of \d+ allowed\n  ENDPOINT +STATE +SINCE")
        self.assertRegex(table, rf"(?m)^  {well.at} +up ")
        self.assertRegex(table, rf"(?m)^  {gone} +ejected .*failed 3 times in a row.*; tried again in \d+ s$")
        page = self.curl("--unix-socket", self.admin, "http://localhost/upstreams").out
        self.assertEqual(re.sub(r"\d+", "0", page).split(), re.sub(r"\d+", "0", self.upstreams("--once")).split())
        self.assertIn("nobody", self.bothways_command(
            "upstreams", "--admin", f"unix:{self.admin}", "-u", "nobody", code=None).err)

    def test_every_family_is_explained(self):
        """What is counted has a name, a kind, a help text, and a line in the manual."""
        (one,) = self.named("one")
        self.app([one])
        request(self.at)
        text = self.curl("--unix-socket", self.admin, "http://localhost/metrics").out
        families = set(re.findall(r"(?m)^# TYPE (\w+) ", text))
        self.assertEqual(set(self.FAMILIES.split()) - families, set())
        self.assertEqual(set(re.findall(r"(?m)^# HELP (\w+) .", text)), families)
        manual = (ROOT / "docs" / "operations.md").read_text()
        self.assertEqual(sorted(name for name in families if f"`{name}`" not in manual), [])
