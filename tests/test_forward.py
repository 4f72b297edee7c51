"""On their way out: curl, wget, pip, git and requests, by plain http and by CONNECT."""

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile

import requests
from websockets.sync.client import connect as websocket

from harness.clients import connect, read_to_end, read_until
from harness.origins import Dns, Nginx, Scripted, flask, websocket_echo
from harness.programs import environment, free_port
from harness.story import Story, needs, once
from harness.tls import Certificates


class World:
    """An nginx that is also served over TLS, a name server, and a certificate authority."""

    def __init__(self, directory):
        self.certificates = Certificates(directory, "world.test", "127.0.0.1")
        self.nginx = Nginx(directory, tls=self.certificates)
        self.dns = Dns({
            "world.test": "127.0.0.1",
            "denied.test": "127.0.0.1",
            "inside.test": "127.0.0.1",
            "office.test": "10.20.30.40",
            "metadata.test": "169.254.169.254",
            "broken.test": None,
        })
        self.http = f"http://world.test:{self.nginx.port}"
        self.https = f"https://world.test:{self.nginx.tls_port}"
        self.ca = self.certificates.ca

    def stop(self):
        self.nginx.stop()
        self.dns.stop()


world = once(World)


class Forward(Story):
    """A forward proxy for clients of this machine that lets them go to `world.test`."""

    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.proxy = self.bothways(self.config())

    def config(self, more=""):
        return f"""
process {{ resolver {{ server "{world().dns.at}"; hosts #false; }} }}
forward "{self.at}" {{
    ports any
    deny to="denied.test"
    allow to="world.test" special=#true
    {more}
}}
"""

    def through(self, *arguments, **more):
        return self.curl("-x", f"http://{self.at}", "--cacert", world().ca, *arguments, **more)

    def environment(self):
        at = f"http://{self.at}"
        return environment(self.directory, http_proxy=at, https_proxy=at)

    # The world, by plain http and by CONNECT.

    def test_curl(self):
        for scheme, kind in ((world().http, "GET"), (world().https, "CONNECT")):
            self.assertEqual(self.through(f"{scheme}/hello").out, "hello\n")
            record = self.proxy.wait_for_record(method=kind, direction="forward")
            self.assertEqual((record["status"], record["client"]), (200, "127.0.0.1"))
            self.assertTrue(record["decided"].startswith("bothways.kdl:6"), record)
        self.assertEqual(self.through("-p", f"{world().http}/hello").out, "hello\n")
        old = ("--proxy1.0", self.at, "--cacert", world().ca)
        self.assertEqual(self.curl(*old, f"{world().http}/hello", f"{world().https}/hello").out, "hello\nhello\n")
        # One connection for several: the proxy keeps it, and so does curl.
        many = self.through("-v", f"{world().http}/hello", f"{world().http}/", f"{world().http}/hello")
        self.assertEqual(many.out, "hello\n<h1>nginx</h1>\nhello\n")
        self.assertEqual(many.err.count("Re-using existing connection"), 2, many)

    @needs("wget")
    def test_wget(self):
        (world().nginx.www / "tree").mkdir(exist_ok=True)
        (world().nginx.www / "tree/index.html").write_text('<a href="one.html">1</a> <a href="two.html">2</a>')
        (world().nginx.www / "tree/one.html").write_text("one")
        (world().nginx.www / "tree/two.html").write_text("two")
        for scheme in (world().http, world().https):
            for options in (["-r", "-np", "-nH"], ["-c"]):
                target = self.directory / "copy"
                self.run_command("wget", "-q", f"--ca-certificate={world().ca}", "-P", target, *options,
                                 f"{scheme}/tree/", env=self.environment())
        self.assertEqual((self.directory / "copy/tree/two.html").read_text(), "two")

    def test_requests(self):
        session = requests.Session()
        session.trust_env = False
        session.proxies = {"http": f"http://{self.at}", "https": f"http://{self.at}"}
        session.verify = str(world().ca)
        for scheme in (world().http, world().https):
            for _ in range(3):
                self.assertEqual(session.get(f"{scheme}/hello", timeout=30).text, "hello\n")

    def test_pip(self):
        make_wheel(world().nginx.www / "simple" / "story-pears")
        for scheme in (world().http, world().https):
            target = self.directory / scheme.partition(":")[0]
            self.run_command(
                *(sys.executable, "-m", "pip", "install", "--no-cache-dir", "--no-deps", "--target", target),
                *("--index-url", f"{scheme}/simple", "--cert", world().ca, "--trusted-host", "world.test"),
                *("--proxy", f"http://{self.at}", "story-pears"),
            )
            self.assertIn("PEARS = 7", (target / "story_pears.py").read_text())
        self.proxy.wait_for_record(method="CONNECT", status=200)
        self.proxy.wait_for_record(method="GET", status=200)

    @needs("git")
    def test_git(self):
        made = make_repository(self, flask().repositories / "pears.git")
        at = f"http://world.test:{flask().port}/git/pears.git"
        here = self.environment()
        self.run_command("git", "clone", "-q", at, "clone", env=here)
        self.assertEqual(hashlib.sha256((self.directory / "clone/pears").read_bytes()).hexdigest(), made)
        commit = ("-c", "user.name=Kim", "-c", "user.email=kim@world.test", "commit", "-q")
        self.run_command("git", "-C", "clone", *commit, "--allow-empty", "-m", "more", env=here)
        big = self.directory / "clone/big"
        big.write_bytes(os.urandom(3 << 20))
        self.run_command("git", "-C", "clone", "add", "big", env=here)
        self.run_command("git", "-C", "clone", *commit, "-m", "big", env=here)
        # More than git keeps in memory for a POST: it goes chunked.
        self.run_command("git", "-C", "clone", "push", "-q", "origin", "HEAD", env=here)
        self.run_command("git", "clone", "-q", "--depth", "1", at, "again", env=here)
        self.same_bytes((self.directory / "again/big").read_bytes(), big.read_bytes())
        # Without any program at the other side, and over TLS.
        self.run_command("git", "clone", "-q", "--bare", "clone", world().nginx.www / f"dumb-{os.getpid()}.git")
        self.run_command("git", "-C", world().nginx.www / f"dumb-{os.getpid()}.git", "update-server-info")
        secure = here | {"GIT_SSL_CAINFO": str(world().ca)}
        self.run_command("git", "clone", "-q", f"{world().https}/dumb-{os.getpid()}.git", "dumb", env=secure)
        self.same_bytes((self.directory / "dumb/big").read_bytes(), big.read_bytes())

    def test_websocket_through_a_tunnel(self):
        at = f"ws://world.test:{websocket_echo().port}/"
        with websocket(at, proxy=f"http://{self.at}", max_size=None) as client:
            for message in ("hello", os.urandom(1 << 20)):
                client.send(message)
                self.same_bytes(client.recv(timeout=30), message)

    # What it says of whom.

    def test_what_the_world_sees(self):
        at = f"http://world.test:{flask().port}/seen?a=b"
        fields = fields_of(self.through("-H", "Proxy-Authorization: Basic c2VjcmV0", at))
        self.assertEqual(fields["host"], f"world.test:{flask().port}")
        self.assertIn("bothways", fields["via"])
        self.assertFalse({"proxy-authorization", "proxy-connection", "x-real-ip"} & fields.keys(), fields)

    def test_anonymous(self):
        self.proxy.rewrite(self.config('anonymous { remove "Referer" "User-Agent" "Cookie"; }'))
        self.assertEqual(self.proxy.reload()["msg"], "reloaded")
        at = f"http://world.test:{flask().port}/seen"
        named = ("-e", "http://secret.test/", "-A", "mine", "-b", "a=b", "-H", "X-Forwarded-For: 10.1.1.1",
                 "-H", "Forwarded: for=10.1.1.1", "-H", "Via: 1.1 mine")
        fields = fields_of(self.through(*named, at))
        self.assertEqual(set(fields) - {"host", "accept", "connection"}, set(), fields)

    # Where one may not go.

    def refused(self, target, *arguments, status=403):
        """What a client reads that is refused, whatever way it asks."""
        plain = self.through("-i", *arguments, f"http://{target}/").out
        self.assertRegex(plain, rf"^HTTP/1\.1 {status} ")
        self.assertRegex(plain, r"(?im)^proxy-status: bothways")
        tunnel = self.through("-i", "-p", *arguments, f"http://{target}/", code=None)
        self.assertRegex(tunnel.out, rf"^HTTP/1\.1 {status} ")
        return plain

    def test_a_denied_host_gets_a_readable_answer(self):
        page = self.refused(f"denied.test:{world().nginx.port}", "-H", "Accept: text/html")
        self.assertIn("<!doctype html>", page)
        self.assertIn("denied.test", page)
        as_json = self.refused(f"denied.test:{world().nginx.port}", "-H", "Accept: application/json")
        self.assertRegex(as_json, r"(?im)^content-type: application/(problem\+)?json")
        record = self.proxy.wait_for_record(status=403, method="CONNECT")
        self.assertEqual(record["decided"], "bothways.kdl:5")

    def test_private_addresses_are_refused_by_default(self):
        """By address or by any name that leads there; and nobody is connected to."""

        def never(_connection):
            raise AssertionError("somebody was connected to")

        origin = Scripted(never)
        self.addCleanup(origin.stop)
        self.proxy.rewrite(self.config().replace('allow to="world.test" special=#true', ""))
        self.proxy.reload()
        hosts = ["127.0.0.1", "localhost", "inside.test", "office.test", "metadata.test", "10.0.0.1",
                 "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "127.1", "2130706433",
                 "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1]",
                 "[fd00::1]", "224.0.0.1"]
        for host in hosts:
            with self.subTest(host), connect(self.at) as client:
                # By hand: curl would turn some of these into others.
                client.sendall(f"CONNECT {host}:{origin.port} HTTP/1.1\r\nHost: {host}:{origin.port}\r\n\r\n".encode())
                answer = read_until(client, b"\r\n")
                self.assertRegex(answer, rb"^HTTP/1\.1 (403|400|502) ", host)
        self.assertEqual(origin.accepted, 0)
        self.assertIn("special", self.refused(f"inside.test:{origin.port}"))

    def test_ports(self):
        self.proxy.rewrite(self.config().replace("ports any", ""))
        self.proxy.reload()
        self.refused(f"world.test:{world().nginx.port}")

    def test_names_that_do_not_resolve(self):
        for host in ("nowhere.test", "broken.test"):
            self.proxy.rewrite(self.config(f'allow to="{host}"'))
            self.proxy.reload()
            self.refused(host, status="50[234]")

    def test_a_loop_to_ourselves_is_refused(self):
        answer = self.through("-i", "--max-time", "20", f"http://world.test:{self.at.rpartition(':')[2]}/").out
        self.assertRegex(answer, r"^HTTP/1\.1 (403|508|502) ")

    def test_a_request_that_is_not_for_a_proxy(self):
        self.assertRegex(self.curl("-i", f"http://{self.at}/").out, r"^HTTP/1\.1 4\d\d ")

    # Tunnels.

    def test_half_close_passes_through_a_tunnel(self):
        def counts(connection):
            """Answers when the client has said all; half of the connection stays open."""
            text = read_to_end(connection)
            connection.sendall(b"%d bytes" % len(text))

        origin = Scripted(counts)
        self.addCleanup(origin.stop)
        with connect(self.at) as client:
            client.sendall(f"CONNECT world.test:{origin.port} HTTP/1.1\r\nHost: world.test:{origin.port}\r\n\r\nearly".encode())
            self.assertIn(b" 200 ", read_until(client, b"\r\n\r\n"))
            client.sendall(b"x" * 100_000)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(read_to_end(client), b"100005 bytes")


def fields_of(done):
    return {name.lower(): value for name, value in json.loads(done.out)["fields"]}


def make_wheel(directory):
    """A package that pip can install, as an index would have it."""
    directory.mkdir(parents=True, exist_ok=True)
    name = "story_pears-1.0-py3-none-any.whl"
    files = {
        "story_pears.py": "PEARS = 7\n",
        "story_pears-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: story-pears\nVersion: 1.0\n",
        "story_pears-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: story\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(directory / name, "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        wheel.writestr("story_pears-1.0.dist-info/RECORD", record + "story_pears-1.0.dist-info/RECORD,,\n")
    (directory / "index.html").write_text(f'<!doctype html><a href="{name}">{name}</a>\n')


def make_repository(story, path):
    """A bare repository with a file of some size, and the digest of that."""
    work = story.directory / "work"
    content = os.urandom(2 << 20)
    story.run_command("git", "init", "-q", "-b", "main", work)
    (work / "pears").write_bytes(content)
    story.run_command("git", "-C", work, "add", "pears")
    story.run_command("git", "-C", work, "-c", "user.name=Kim", "-c", "user.email=kim@world.test", "commit", "-q", "-m", "one")
    subprocess.run(["rm", "-rf", path], check=True)
    story.run_command("git", "clone", "-q", "--bare", work, path)
    story.run_command("git", "-C", path, "config", "http.receivepack", "true")
    return hashlib.sha256(content).hexdigest()
