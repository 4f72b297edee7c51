"""Another binary takes over while clients are served: nobody notices, and a bad binary changes nothing."""

import array
import json
import os
import re
import signal
import socket
import stat
import threading
import time
from pathlib import Path

from websockets.sync.client import connect as websocket

from harness.bothways import binary
from harness.clients import Load, ask_for, connect, read_to_end, read_until, request
from harness.http2 import Http2
from harness.origins import flask, nginx, websocket_echo
from harness.programs import environment, free_port, wait_until
from harness.story import Story, needs


def is_running(process):
    """Whether a process runs; one that has ended may still wait for its parent."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


class Upgrade(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.out = f"127.0.0.1:{free_port()}"
        self.admin = self.directory / "admin.sock"
        self.pid_file = self.directory / "bothways.pid"

    def config(self, more="", process="", admin=None):
        return f"""
process {{
    admin "{admin or f"unix:{self.admin}"}"
    {process}
}}
site "static.test" {{
    listen "{self.at}"
    to "{nginx().at}"
}}
site "socket.test" {{
    listen "{self.at}"
    to "{websocket_echo().at}"
}}
site "shop.test" {{
    listen "{self.at}"
    to shop
}}
upstream shop {{
    to "{flask().at}"
    health "/seen"
}}
forward "{self.out}" {{
    ports any
    allow to="127.0.0.1"
}}
{more}
"""

    def proxy(self, *config, **more):
        return self.bothways(self.config(*config, **more), ["--pid-file", self.pid_file])

    def process(self):
        return int(self.pid_file.read_text())

    def upgrade(self, *arguments, **more):
        return self.bothways_command("upgrade", *arguments, **more)

    def hello(self):
        self.assertEqual(request(self.at, target="/hello", Host="static.test")[2], b"hello\n")

    @needs("wrk")
    def test_under_load(self):
        """Upgrades under load: no request fails, no connection is refused, no tunnel ends."""
        proxy = self.proxy("", 'drain "60s"')
        sockets = []

        def open_socket():
            one = websocket("ws://socket.test/", sock=connect(self.at), proxy=None)
            self.addCleanup(one.close)
            sockets.append(one)

        open_socket()
        tunnel = connect(self.out)
        self.addCleanup(tunnel.close)
        tunnel.sendall(f"CONNECT {nginx().at} HTTP/1.1\r\nHost: {nginx().at}\r\n\r\n".encode())
        self.assertIn(b" 200 ", read_until(tunnel, b"\r\n\r\n"))
        wrk = self.start("wrk", ["wrk", "-t1", "-c16", "-d12s", "-H", "Host: static.test", f"http://{self.at}/hello"])
        kept = Load(self.at, 4, ask_for("/seen", lambda body: b'"path":"/seen"' in body, Host="shop.test"))
        fresh = Load(self.at, 3, ask_for("/hello", lambda b: b == b"hello\n", Host="static.test", Connection="close"))
        outer = Load(self.out, 2, through_proxy(f"http://{nginx().at}/hello"))
        processes = [self.process()]
        while wrk.process.poll() is None:
            told = self.upgrade().out
            self.assertIn(f"process {processes[-1]} drains", told)
            processes.append(self.process())
            self.assertIn(f"upgraded: process {processes[-1]} ", told)
            open_socket()
            for one in sockets:
                one.send(f"upgrade {len(processes)}")
                self.assertEqual(one.recv(timeout=30), f"upgrade {len(processes)}")
            tunnel.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b"200 OK", read_until(tunnel, b"hello\n"))
        for load in (kept, fresh, outer):
            load.stop()
        told = wrk.out.read_text()
        self.assertNotIn("Socket errors", told)
        self.assertNotIn("Non-2xx", told)
        self.assertGreater(int(re.search(r"(\d+) requests in", told).group(1)), 1000, told)
        self.assertEqual((kept.failures, fresh.failures, outer.failures), ([], [], []))
        for load in (kept, fresh, outer):
            self.assertGreater(load.good, 50)
        self.assertGreater(len(processes), 3)
        self.assertEqual(len(set(processes)), len(processes))
        # Each process ends once its last client has gone.
        for one in sockets:
            one.close()
        tunnel.close()
        self.assertEqual(proxy.ended(), 0)
        wait_until(lambda: [is_running(one) for one in processes].count(True) == 1, "the old ones end")
        self.hello()
        self.assertEqual(self.process(), processes[-1], "the PID file is that of the last one")
        self.assertTrue(stat.S_ISSOCK(self.admin.stat().st_mode))
        os.kill(processes[-1], signal.SIGTERM)
        wait_until(lambda: not is_running(processes[-1]), "the last one stops")
        self.assertFalse(self.pid_file.exists())
        self.assertFalse(self.admin.exists())

    def test_what_is_under_way_finishes(self):
        """Slow requests and idle connections, over HTTP/1 and HTTP/2."""
        proxy = self.proxy("", 'drain "60s"')
        slow = connect(self.at)
        slow.sendall(b"GET /slow/upgrade HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        idle, untouched = connect(self.at), connect(self.at)
        for one in (slow, idle, untouched):
            self.addCleanup(one.close)
        idle.sendall(b"GET /hello HTTP/1.1\r\nHost: static.test\r\n\r\n")
        self.assertIn(b"200 OK", read_until(idle, b"hello\n"))
        second = Http2(self.at)
        self.addCleanup(second.close)
        self.assertEqual(second.body(second.request("static.test", "/hello")), b"hello\n")
        stream = self.start("curl", ["curl", "-q", "-sS", "--http2-prior-knowledge", "-H", "Host: shop.test",
                                     f"http://{self.at}/slow/upgrade2"])

        def in_flight():
            return json.loads(self.admin_page("/upstreams/shop"))["upstreams"][0]["endpoints"][0]["in_flight"]

        wait_until(lambda: in_flight() == 2, "two requests are under way")
        self.upgrade()
        # A client that is idle may still ask once: a close could meet its request.
        for one in (idle, untouched):
            one.sendall(b"GET /hello HTTP/1.1\r\nHost: static.test\r\n\r\n")
            answer = read_to_end(one)
            self.assertIn(b"200 OK", answer)
            self.assertIn(b"connection: close", answer.lower())
            self.assertTrue(answer.endswith(b"hello\n"))
        request(self.at, "POST", "/events/upgrade", "now", Host="shop.test")
        self.assertIn(b"late now", read_until(slow, b"late now"))
        request(self.at, "POST", "/events/upgrade2", "now", Host="shop.test")
        self.assertEqual(stream.ended(), 0)
        self.assertIn("late now", stream.out.read_text())
        while second.receive():
            pass
        self.assertTrue(second.terminated, "an idle connection gets GOAWAY")
        for one in (slow, idle, untouched):
            one.close()
        self.assertEqual(proxy.ended(), 0)

    def test_bad_binaries_change_nothing(self):
        proxy = self.proxy()
        os.chmod(ends := self.write("ends", "#!/bin/sh\necho 'no such luck' >&2\nexit 7\n"), 0o755)
        os.chmod(hangs := self.write("hangs", "#!/bin/sh\nexec sleep 1000\n"), 0o755)
        os.chmod(cheats := self.write("cheats", "#!/bin/sh\nexec <&-\nsleep 1000\n"), 0o755)
        for name, file, words in [
            ("ends", ends, "the new process ended with code 7 before it was ready"),
            ("hangs", hangs, "the new process was not ready within 1 s, and was stopped"),
            ("cheats", cheats, "the new process"),
            ("missing", self.directory / "missing", "cannot start"),
        ]:
            with self.subTest(name):
                told = self.upgrade("--binary", file, "--within", "1", code=1).err
                self.assertIn(words, told)
                self.assertIn(f"process {proxy.pid} goes on as before", told)
                self.assertEqual(self.process(), proxy.pid)
                self.hello()
        self.assertIn("no such luck", self.upgrade("--binary", ends, code=1).err)
        events = [event for event in proxy.events() if "not upgraded" in event.get("msg", "")]
        self.assertEqual(len(events), 5)
        children = Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children")
        self.assertEqual(children.read_text().split(), [], "nothing is left of them")
        # It can still be upgraded, and reloaded.
        self.assertEqual(proxy.reload()["msg"], "reloaded")
        self.upgrade("--binary", binary())
        self.assertNotEqual(self.process(), proxy.pid)
        self.hello()

    def test_a_bad_configuration_leaves_the_old_process(self):
        proxy = self.proxy()
        proxy.rewrite(self.config("nonsense"))
        told = self.upgrade("--admin", f"unix:{self.admin}", code=78).err
        self.assertIn("bothways.kdl:26:1: `nonsense`", told)
        self.assertIn("not upgraded", told)
        # An address that another program has.
        proxy.rewrite(self.config(f'site "b" {{ listen "{nginx().at}"; respond "b"; }}'))
        told = self.upgrade("--admin", f"unix:{self.admin}", code=1).err
        self.assertIn("another program listens there", told)
        self.assertEqual(self.process(), proxy.pid)
        self.hello()

    def test_by_signal_with_another_configuration(self):
        """Listeners come and go, and the number of cores changes: every socket is still accepted from."""
        old, new = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        proxy = self.proxy(f'site "old" {{ listen "{old}"; respond "old"; }}', "cores 3")
        for cores in (1, 4, 2):
            before = self.process()
            proxy.rewrite(self.config(f'site "new" {{ listen "{new}"; respond "new"; }}', f"cores {cores}"))
            clients = Load(self.at, 3, ask_for("/hello", lambda b: b == b"hello\n", Host="static.test", Connection="close"))
            told = self.upgrade("--pid", self.pid_file).out
            self.assertIn(f"process {before} drains", told)
            wait_until(lambda: clients.good > 200 or clients.failures, "connections are served")
            clients.stop()
            self.assertEqual(clients.failures, [])
            self.assertEqual(request(new, Host="new")[2], b"new")
            with self.assertRaises(ConnectionRefusedError):
                wait_until(lambda: not connect(old).close() is None, "closed", 5)
        self.assertNotEqual(proxy.pid, self.process())

    def test_changes_at_run_time_pass_over(self):
        self.proxy()
        self.bothways_command("upstreams", "add", "shop", "127.0.0.9:1", "--weight", "7")
        self.bothways_command("upstreams", "drain", "shop", "127.0.0.9:1")
        before = self.bothways_command("upstreams", "diff", "shop").out
        self.assertIn("127.0.0.9:1", before)
        self.upgrade()
        self.assertEqual(self.bothways_command("upstreams", "diff", "shop").out, before)

    def test_admin_by_tcp(self):
        """The token counts as for other changes, and nobody names a binary this way."""
        admin = f"127.0.0.1:{free_port()}"
        token = self.write("token", "a-token-of-some-length\n")
        token.chmod(0o600)
        self.proxy(process="", admin=f'{admin}" token-file="{token}')
        before = self.process()
        self.assertEqual(request(admin, "POST", "/upgrade", Host="localhost")[0], 401)
        refused = self.upgrade("--binary", binary(), code=1).err
        self.assertIn("only root and the user of this process may name a binary", refused)
        self.assertEqual(self.process(), before)
        self.upgrade()
        self.assertNotEqual(self.process(), before)
        self.upgrade()
        allowed = {"Host": "localhost", "Authorization": "Bearer a-token-of-some-length"}
        self.assertEqual(request(admin, target="/readyz", **allowed)[2], b"ready\n")

    def test_a_reload_meanwhile_reaches_whoever_serves(self):
        """SIGHUP while a new process starts: its configuration may have been read already."""
        proxy = self.proxy()
        os.chmod(late := self.write("late", f"#!/bin/sh\nsleep 1\nexec {binary()} \"$@\"\n"), 0o755)
        outcome = []
        command = threading.Thread(target=lambda: outcome.append(self.upgrade("--binary", late)))
        command.start()
        proxy.wait_for_event("starting the new process")
        again = self.upgrade(code=1).err
        self.assertIn("an upgrade is under way", again)
        proxy.send(signal.SIGHUP)
        command.join(60)
        self.assertEqual(len(outcome), 1)
        proxy.wait_for_event("reloaded")

    def test_service_manager(self):
        """systemd hears which process counts, and then from that one that it is ready."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(self.directory / "notify"))
        manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        manager.settimeout(30)
        self.write("bothways.kdl", self.config())
        command = [binary(), "run", "--config", "bothways.kdl", "--pid-file", self.pid_file]
        env = environment(self.directory, NOTIFY_SOCKET=self.directory / "notify")
        program = self.start("bothways", command, env=env)

        def told():
            data, ancillary, _, _ = manager.recvmsg(4096, 1024)
            found = {kind: value for level, kind, value in ancillary}
            fds = array.array("i", found.get(socket.SCM_RIGHTS, b""))
            for fd in fds:
                os.close(fd)
            process = int.from_bytes(found[socket.SCM_CREDENTIALS][:4], "little")
            return process, data.decode().split("\n"), len(fds)

        def told_of(line):
            """The next notification with this line, and those before it."""
            before = []
            while True:
                process, lines, fds = told()
                if line in lines:
                    return process, fds, before
                before.append((process, lines[0]))

        self.assertEqual(told_of("READY=1")[0], program.pid)
        for at in (self.at, self.out):
            process, fds, _ = told_of(f"FDNAME=listen-{at.replace(':', '_')}")
            self.assertEqual(process, program.pid)
            self.assertGreaterEqual(fds, 1, "the sockets are kept over a restart")
        self.upgrade()
        new = self.process()
        process, _, before = told_of(f"MAINPID={new}")
        self.assertEqual((process, before), (program.pid, []))
        process, _, before = told_of("READY=1")
        self.assertEqual((process, before), (new, []), "only then the new one is listened to")
        self.assertEqual(program.ended(), 0)
        self.write("bothways.kdl", self.config().replace(self.out, f"127.0.0.1:{free_port()}"))
        self.bothways_command("reload", "--admin", f"unix:{self.admin}")
        told_of("FDSTOREREMOVE=1")
        os.kill(new, signal.SIGTERM)
        process, _, before = told_of("STOPPING=1")
        self.assertEqual({process, *(process for process, _ in before)}, {new}, "the old process tells nothing any more")

    def admin_page(self, page):
        return self.curl("--unix-socket", self.admin, "-H", "Accept: application/json", f"http://localhost{page}").out


def through_proxy(url):
    """An exchange by a forward proxy, for `Load`."""

    def ask(connection):
        connection.request("GET", url)
        answer = connection.getresponse()
        body = answer.read()
        return None if (answer.status, body) == (200, b"hello\n") else f"{answer.status} {body[:200]!r}"

    return ask
