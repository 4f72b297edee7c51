"""Servers that are killed, stopped, slow or answer wrongly, behind real load: no client that may be served again notices.

The longer forms, the same scenarios with other proxies, and figures: `bench/failures/run`.
"""

import itertools
import sys

from harness.clients import request
from harness.programs import PATIENCE, ROOT, built, environment, free_port, wait_until
from harness.story import Story

sys.path.insert(0, str(ROOT / "bench"))

from failures.faults import FAULTS  # noqa: E402  (the path above comes first)
from failures.peers import Clients, Endpoint, errors, handled_twice, is_even, merged, shares  # noqa: E402

SERVICE_MS = 2
# Requests after which something is said to have been seen: a few dozen for each client.
ENOUGH = 600
BY_NAME = {fault.name: fault for fault in FAULTS}


class Balancing(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.laps = []

    def endpoints(self, count=5, service_ms=SERVICE_MS):
        program = built("bench-endpoint")
        self.servers = [
            Endpoint(self.start, program, f"endpoint{n}", (free_port(), free_port()), self.directory, service_ms)
            for n in range(count)
        ]
        for server in self.servers:
            # What is stopped could not end.
            self.addCleanup(server.go_on)
            self.addCleanup(server.control.close)
        return self.servers

    def config(self, more, site=""):
        servers = "\n".join(f'    to "{server.at}"' for server in self.servers)
        return f"""
process {{ cores 2; log access=off; }}
site {{
    listen "{self.at}"
    to app
    {site}
}}
upstream app {{
{servers}
{more}
}}
"""

    def clients(self, connections=16, **more):
        clients = Clients(built("bench-clients"), self.at, connections, self.directory, timeout=PATIENCE,
                          env=environment(self.directory), **more)
        self.addCleanup(clients.finish)
        return clients

    def served(self, clients, count=ENOUGH):
        """Waits until so many more requests were answered well; what went wrong for anyone is kept in `laps`."""
        so_far = 0

        def enough():
            nonlocal so_far
            self.laps.append(clients.lap())
            so_far += self.laps[-1]["requests"]
            return so_far >= count

        wait_until(enough, f"{count} more requests are served")

    def wait_even(self, clients, tolerance=0.4):
        """Waits until the requests are spread evenly again over all servers."""

        def even():
            before = [server.requests() for server in self.servers]
            self.served(clients)
            return is_even(shares(self.servers, before), tolerance)

        wait_until(even, "each server has its share again")

    def checked(self, times=4):
        """Waits until the proxy has checked a server that is well so many times: long enough to hear of the others."""
        well = self.servers[0]
        checks = well.counts()["checks"]
        wait_until(lambda: well.counts()["checks"] >= checks + times, "the servers were checked")

    def no_errors(self):
        self.assertEqual(merged(self.laps), {})

    def once_each(self, posts):
        """No POST has reached two servers, and what a client was told of is there."""
        posts.finish()
        self.assertEqual(handled_twice(self.servers), [])
        seen = {id for server in self.servers for id in server.ids()}
        acked = posts.acked()
        self.assertGreater(len(acked), 0)
        self.assertEqual([id for id in acked if id not in seen], [])


# What one would write so that no client notices: short times, statuses that are asked again, checks.
GUARDED = """
    retry tries=4 try="500ms" { on connect refused reset timeout 500 502 503 504; }
    health "/health" every="200ms" every-down="200ms" timeout="500ms" rise=1 fall=2
    eject consecutive=5 term="500ms" term-max="1s"
    slow-start "500ms"
"""


class Failures(Balancing):
    """Each thing that goes wrong alone, and all pairs of them."""

    def play(self, *names):
        faults = [BY_NAME[name] for name in names]
        servers = self.endpoints()
        self.bothways(self.config(GUARDED))
        gets, posts = self.clients(), self.clients(2, name="posts", post=True)
        self.served(gets)
        hit = list(zip(faults, servers[1::2]))
        for fault, server in hit:
            fault.begin(server)
        self.served(gets)
        self.checked()
        self.served(gets)
        for fault, server in hit:
            fault.end(server)
        self.wait_even(gets)
        self.no_errors()
        self.once_each(posts)

    def test_killed(self):
        self.play("killed")

    def test_stopped(self):
        self.play("stopped")

    def test_answers_500(self):
        self.play("500")

    def test_slow(self):
        self.play("slow")

    def test_closes_connections(self):
        self.play("closes")


def add_pairs():
    """A story for each two at once."""
    for names in itertools.combinations(BY_NAME, 2):

        def story(self, names=names):
            self.play(*names)

        setattr(Failures, f"test_{names[0]}_and_{names[1]}", story)


add_pairs()


class Reload(Balancing):
    def test_in_the_middle(self):
        """One is dead, one answers 500, one closes: and the configuration changes again and again."""
        servers = self.endpoints()
        proxy = self.bothways(self.config(GUARDED))
        gets, posts = self.clients(), self.clients(2, name="posts", post=True)
        self.served(gets)
        servers[0].kill()
        servers[2].mode("fail")
        servers[4].mode("close")
        for number in range(5):
            self.served(gets, 200)
            proxy.rewrite(self.config(GUARDED, f'response {{ set "X-Reload" "{number}"; }}'))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
            self.assertEqual(request(self.at)[1]["x-reload"], str(number))
        servers[0].begin()
        servers[2].mode("normal")
        servers[4].mode("normal")
        self.wait_even(gets)
        self.no_errors()
        self.once_each(posts)

    def test_servers_come_and_go(self):
        """Servers leave the file and come back into it under load: nobody notices, and nothing goes to those that left."""
        servers = self.endpoints()
        proxy = self.bothways(self.config(GUARDED))
        gets = self.clients()
        self.served(gets)
        for gone in (servers[0], servers[3]):
            self.servers = [server for server in servers if server is not gone]
            proxy.rewrite(self.config(GUARDED))
            self.assertEqual(proxy.reload()["msg"], "reloaded")
            # What was under way ends; then its count stays.
            counts = wait_until(lambda: same_twice(gone.requests, lambda: self.served(gets, 100)), "nothing goes there")
            self.served(gets)
            self.assertEqual(gone.requests(), counts)
        self.servers = servers
        proxy.rewrite(self.config(GUARDED))
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.wait_even(gets)
        self.no_errors()


def same_twice(read, between):
    before = read()
    between()
    return before if read() == before else None


class Posts(Balancing):
    def test_are_never_sent_twice(self):
        """Connections are reset and closed at requests that were read: those are lost, and not sent again."""
        servers = self.endpoints(3)
        servers[0].mode("reset 30")
        servers[1].mode("close")
        self.bothways(self.config('    retry tries=4 try="500ms" { on connect refused reset timeout 500; }\n    eject off'))
        posts = self.clients(name="posts", post=True)
        gets = self.clients(4)
        self.served(posts)
        self.assertGreater(sum(map(errors, self.laps)), 0, "requests were lost, or this shows nothing")
        self.laps.clear()
        self.served(gets)
        self.no_errors()
        servers[2].stop()
        self.served(posts, 50)
        servers[2].go_on()
        self.served(posts)
        self.once_each(posts)


class Storm(Balancing):
    """All servers fail: what reaches them is a fifth more than what clients ask, not a multiple."""

    def storm(self, mode):
        servers = self.endpoints()
        for server in servers:
            server.mode(mode)
        self.bothways(self.config("    retry tries=4 { on connect refused reset timeout 500; }\n    eject off"))
        clients = self.clients(8, rate=400)
        wait_until(lambda: sum(server.requests() for server in servers) > 1000, "the storm")
        lap = clients.last_lap()
        asked = lap["requests"] + errors(lap)
        reached = sum(server.requests() for server in servers)
        self.assertGreater(reached, asked, "some are sent again, or this shows nothing")
        self.assertLessEqual(reached, 1.25 * asked)

    def test_of_500(self):
        self.storm("fail-work")

    def test_of_resets(self):
        self.storm("reset 100")


class Choice(Balancing):
    """A server that is ten times slower than the other four.

    The others take so long that what they wait for a core of a busy machine is little beside it: who is
    slow for any reason gets less, and that is right.
    """

    def share_of_slow(self, algorithm):
        servers = self.endpoints(service_ms=10)
        self.bothways(self.config(f"    balance {algorithm}\n    eject off"))
        clients = self.clients()
        servers[1].mode("slow")
        self.served(clients)
        before = [server.requests() for server in servers]
        self.served(clients, 2 * ENOUGH)
        self.no_errors()
        return shares(servers, before)[1]

    def test_avoids_a_slow_one(self):
        for algorithm in ("p2c", "least-time"):
            with self.subTest(algorithm):
                self.assertLess(self.share_of_slow(algorithm), 0.06)

    def test_round_robin_does_not(self):
        self.assertAlmostEqual(self.share_of_slow("round-robin"), 0.2, delta=0.03)


class AllDown(Balancing):
    CHECKS = '    health "/health" every="200ms" every-down="200ms" rise=1 fall=1'

    def test_is_told_at_once(self):
        """Checks fail everywhere: 503 with Retry-After, without asking anyone; and it is over when one is well."""
        servers = self.endpoints(2)
        self.bothways(self.config(self.CHECKS))
        for server in servers:
            server.mode("fail")
        wait_until(lambda: request(self.at)[0] == 503, "all are down")
        before = [server.counts()["gets"] for server in servers]
        status, fields, _ = request(self.at)
        self.assertEqual(status, 503)
        self.assertIn("retry-after", fields)
        self.assertEqual([server.counts()["gets"] for server in servers], before)
        servers[1].mode("normal")
        wait_until(lambda: request(self.at)[0] == 200, "one is well")

    def test_spread_asks_them_all_the_same(self):
        servers = self.endpoints(2)
        self.bothways(self.config(self.CHECKS + "\n    panic spread"))
        for server in servers:
            server.mode("fail")
        # A check each, and what it says has been heard: the next check comes after that.
        for server in servers:
            checks = server.counts()["checks"]
            wait_until(lambda: server.counts()["checks"] > checks + 2, "it was checked")
        self.assertEqual({request(self.at)[0] for _ in range(10)}, {500})


class Hedging(Balancing):
    def test_a_stopped_one_delays_nobody(self):
        """No time-out of a try is set: what one server holds back is had from another, while that one is stopped."""
        servers = self.endpoints(3)
        self.bothways(self.config('    hedge "30ms"\n    retry budget="100%"\n    eject off'))
        clients = self.clients(8)
        self.served(clients)
        servers[1].stop()
        self.served(clients)
        self.laps.append(clients.last_lap())
        self.no_errors()
        self.assertTrue(servers[1].is_stopped(), "all were answered without it")
