"""Logins: a file of users in front of a site and of a forward proxy."""

import os
import socket
import unittest
from base64 import b64encode

import requests

from harness.clients import connect, read_to_end, read_until
from harness.origins import Scripted, flask
from harness.programs import environment, free_port, wait_until
from harness.story import Story, needs

ANN = ("ann", "open sesame")


def basic(user, password):
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def echo_fields(connection):
    """Answers each request with its own head as the body."""
    while True:
        try:
            head = read_until(connection, b"\r\n\r\n")
        except AssertionError:
            return  # The proxy has closed it.
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n")
                       if line.startswith(b"content-length:")), 0)
        while length > 0:
            length -= len(connection.recv(min(length, 65536)))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head))


class Logins(Story):
    def setUp(self):
        super().setUp()
        self.origin = Scripted(echo_fields)
        self.addCleanup(self.origin.stop)
        self.users = self.directory / "users"
        self.bothways_command("user", "add", self.users, "ann", text="open sesame\n")

    def without_secrets(self):
        for path in self.directory.rglob("*.log"):
            text = path.read_text("utf-8", "replace")
            for secret in ("open sesame", basic(*ANN)[6:], "$2y$"):
                self.assertNotIn(secret, text, path)

    def test_a_site(self):
        at = f"127.0.0.1:{free_port()}"
        proxy = self.bothways(f"""
site "*" {{
    listen "{at}"
    login basic file="users" realm="the \\"wiki\\""
    request {{ set "X-Remote-User" "{{user}}"; }}
    route "/open" {{ login off; to "{self.origin.at}"; }}
    route "/app/*" {{ login basic file="users" pass=#true; to "{self.origin.at}"; }}
    route "/inside/*" {{ allow from="127.0.0.2"; satisfy any; to "{self.origin.at}"; }}
    route "/moved" {{ redirect "/elsewhere"; }}
    to "{self.origin.at}"
}}
""")
        site = f"http://{at}"
        asked = requests.get(f"{site}/", timeout=30)
        self.assertEqual(asked.status_code, 401)
        self.assertEqual(asked.headers["WWW-Authenticate"], 'Basic realm="the \\"wiki\\"", charset="UTF-8"')
        self.assertNotIn("Proxy-Authenticate", asked.headers)
        self.assertEqual(self.origin.accepted, 0)
        for wrong in ("ann:no", "eve:open sesame", "ann:open sesame "):
            self.assertEqual(self.curl("-w", "%{http_code}", "-o", os.devnull, "-u", wrong, site).out, "401")
        seen = self.curl("-u", ":".join(ANN), f"{site}/page").out
        self.assertIn("GET /page HTTP/1.1", seen)
        self.assertNotIn("authorization", seen.lower())
        named = self.curl("-H", "X-Remote-User: eve", "-u", ":".join(ANN), site).out
        self.assertIn("X-Remote-User: ann\r\n", named)
        self.assertNotIn("eve", named)
        self.assertIn(f"Authorization: {basic(*ANN)}", self.curl("-u", ":".join(ANN), f"{site}/app/x").out)
        self.assertNotIn("authorization", self.curl(f"{site}/open").out.lower())
        # What is not ours to judge goes on.
        self.assertIn("Authorization: Bearer x", self.curl("-H", "Authorization: Bearer x", f"{site}/open").out)
        # One of both is enough: the address, or the login.
        inside = f"{site}/inside/x"
        self.assertIn("GET /inside/x", self.curl("--interface", "127.0.0.2", inside).out)
        self.assertEqual(requests.get(inside, timeout=30).status_code, 401)
        self.assertIn("GET /inside/x", self.curl("-u", ":".join(ANN), inside).out)
        self.assertNotIn("authorization", self.curl("--interface", "127.0.0.2", "-u", "x:y", inside).out.lower())
        # All of the site, what it lacks too, and its redirects.
        self.assertEqual(requests.get(f"{site}/moved", timeout=30, allow_redirects=False).status_code, 401)
        moved = requests.get(f"{site}/moved", auth=ANN, timeout=30, allow_redirects=False)
        self.assertEqual((moved.status_code, moved.headers["Location"]), (308, "/elsewhere"))
        # An upload that is refused, then the same connection again.
        with requests.Session() as session:
            upload = os.urandom(3 << 20)
            self.assertEqual(session.post(site, upload, timeout=60).status_code, 401)
            self.assertEqual(session.post(site, upload, auth=ANN, timeout=60).status_code, 200)
        record = proxy.wait_for_record(user="ann", status=200)
        self.assertEqual(record["client"], "127.0.0.1")
        self.assertEqual(proxy.wait_for_record(error="login_required")["status"], 401)
        self.assertNotIn("user", proxy.wait_for_record(error="login_failed"))
        self.without_secrets()
        shown = self.bothways_command("show", "--config", "bothways.kdl").out
        self.assertIn('login basic file=', shown)
        self.assertIn("login off", shown)

    def test_several_credentials_are_none(self):
        at = free_port()
        self.bothways(f'site "*" {{ listen "127.0.0.1:{at}"; login basic file="users"; to "{self.origin.at}"; }}')
        good = basic(*ANN)
        for lines, status in (
            ([good], b"200"),
            ([good, good], b"401"),
            ([good, "Bearer x"], b"401"),
            ([good + ", Basic eA=="], b"401"),
            (["Negotiate YII="], b"401"),
            (["Basic"], b"401"),
            (["Basic !!!!"], b"401"),
        ):
            with connect(f"127.0.0.1:{at}") as client:
                fields = "".join(f"Authorization: {line}\r\n" for line in lines)
                client.sendall(f"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n".encode())
                self.assertEqual(read_to_end(client).split(b" ")[1], status, lines)

    def test_a_changed_file_takes_effect_and_a_bad_one_does_not(self):
        at = f"127.0.0.1:{free_port()}"
        config = f'site "*" {{ listen "{at}"; login basic file="users"; to "{self.origin.at}"; }}'
        proxy = self.bothways(config)

        def status(user, password):
            return requests.get(f"http://{at}", auth=(user, password), timeout=30).status_code

        self.assertEqual((status(*ANN), status("bob", "x y")), (200, 401))
        self.bothways_command("user", "add", self.users, "bob", text="x y\n")
        wait_until(lambda: status("bob", "x y") == 200, "the new user is known")
        self.bothways_command("user", "passwd", self.users, "ann", text="new\n")
        wait_until(lambda: status(*ANN) == 401, "the old password is forgotten")
        self.assertEqual(status("ann", "new"), 200)
        events = len(proxy.events())
        self.users.write_text("nonsense\n")
        bad = proxy.wait_for_event("its users stay as they were", after=events)
        self.assertIn("line 1: expected `name:hash`", bad["msg"])
        self.assertEqual(status("ann", "new"), 200)
        # A configuration with such a file is refused.
        self.assertIn("line 1", self.bothways_command("check", "bothways.kdl", code=78).err)
        self.assertIn("the old configuration stays active", proxy.reload()["msg"])
        self.users.unlink()
        checked = self.bothways_command("check", "bothways.kdl", code=78)
        self.assertIn("bothways.kdl:1", checked.err)
        self.assertIn("users", checked.err)
        self.assertEqual(status("ann", "new"), 200)

    def test_guessing_is_slow(self):
        at = f"127.0.0.1:{free_port()}"
        proxy = self.bothways(f'site "*" {{ listen "{at}"; login basic file="users"; to "{self.origin.at}"; }}')

        def answer(password, source):
            with requests.Session() as session:
                session.get_adapter("http://").init_poolmanager(1, 1, source_address=(source, 0))
                return session.get(f"http://{at}", auth=("ann", password), timeout=60)

        statuses = [answer("no", "127.0.0.1").status_code for _ in range(6)]
        self.assertEqual(statuses, [401] * 5 + [429])
        refused = answer(ANN[1], "127.0.0.1")
        self.assertEqual((refused.status_code, refused.headers["Retry-After"]), (429, "1"))
        # Others are not locked out.
        self.assertEqual(answer(ANN[1], "127.0.0.2").status_code, 200)
        wait_until(lambda: answer(ANN[1], "127.0.0.1").status_code == 200, "the wait is over")
        self.assertEqual(proxy.wait_for_record(error="too_many_logins")["status"], 429)

    def forward(self):
        at = f"127.0.0.1:{free_port()}"
        proxy = self.bothways(f"""
forward "{at}" {{
    ports any
    login basic file="users" realm="out"
    allow to="127.0.0.1"
}}
""")
        return at, proxy

    def test_a_forward_proxy(self):
        at, proxy = self.forward()
        target = f"http://{self.origin.at}/page"
        through = ("-x", f"http://{at}", "-w", "%{http_code} %{http_connect}")
        asked = self.curl(*through, "-i", target).out
        self.assertIn("HTTP/1.1 407 Proxy Authentication Required", asked)
        self.assertIn('Proxy-Authenticate: Basic realm="out", charset="UTF-8"', asked)
        self.assertNotIn("WWW-Authenticate", asked)
        self.assertTrue(self.curl(*through, "-p", "-o", os.devnull, target, code=56).out.endswith("407"))
        login = ("--proxy-user", ":".join(ANN))
        for way in ([], ["-p"], ["--proxy1.0", at]):
            seen = self.curl("-x", f"http://{at}", *login, *way, "-H", "Authorization: Basic eDp5", target).out
            self.assertNotIn("proxy-authorization", seen.lower())
            # The login of the origin is not ours.
            self.assertIn("Authorization: Basic eDp5", seen)
        # As curl does with --proxy-anyauth: first without, then again on the same connection, with the body.
        upload = self.write("upload", "x" * (3 << 20))
        seen = self.curl("-v", "-x", f"http://{at}", "--proxy-anyauth", *login, "--data-binary", f"@{upload}", target)
        self.assertIn("POST /page", seen.out)
        proxy.wait_for_record(user="ann", method="CONNECT", status=200)
        proxy.wait_for_record(user="ann", method="POST", status=200)
        self.without_secrets()

    def test_a_connection_goes_on_after_407(self):
        at, _ = self.forward()
        with connect(at) as client:
            client.sendall(f"CONNECT {self.origin.at} HTTP/1.1\r\nHost: {self.origin.at}\r\n\r\n".encode())
            head = read_until(client, b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 407 "), head)
            length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
            while length > 0:
                length -= len(client.recv(length))
            client.sendall(f"CONNECT {self.origin.at} HTTP/1.1\r\nHost: {self.origin.at}\r\n"
                           f"Proxy-Authorization: {basic(*ANN)}\r\n\r\n".encode())
            self.assertTrue(read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 "))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(read_until(client, b"GET / HTTP/1.1\r\n"))

    @needs("git", "wget")
    def test_programs(self):
        at, proxy = self.forward()
        user = "ann:open%20sesame"
        here = environment(self.directory, http_proxy=f"http://{user}@{at}", https_proxy=f"http://{user}@{at}")
        origin = f"http://127.0.0.1:{flask().port}"
        self.run_command("wget", "-q", "-O", "page", f"http://{self.origin.at}/w", env=here)
        self.assertIn("GET /w", (self.directory / "page").read_text())
        proxies = {"http": f"http://{user}@{at}"}
        self.assertEqual(requests.get(origin, proxies=proxies, timeout=30).status_code, 200)
        self.run_command("git", "ls-remote", f"{origin}/git/none.git", env=here, code=128)
        wait_until(lambda: any(record.get("user") == "ann" and "none.git" in record["target"]
                               for record in proxy.records()), "git has logged in")


class UserCommand(Story):
    def test_a_file_of_users(self):
        users = self.directory / "users"
        added = self.bothways_command("user", "add", users, "ann", text="one\n")
        self.assertIn("ann", added.out)
        self.assertEqual(users.stat().st_mode & 0o777, 0o640)
        self.assertIn("exists", self.bothways_command("user", "add", users, "ann", text="two\n", code=1).err)
        self.assertIn("no user", self.bothways_command("user", "passwd", users, "bob", text="two\n", code=1).err)
        self.bothways_command("user", "check", users, "ann", text="one\n")
        self.bothways_command("user", "check", users, "ann", text="two\n", code=1)
        users.write_text(users.read_text() + "# a remark\n")
        self.bothways_command("user", "passwd", users, "ann", text="two\n")
        self.bothways_command("user", "check", users, "ann", text="two\n")
        self.assertTrue(users.read_text().endswith("# a remark\n"))
        self.bothways_command("user", "remove", users, "ann")
        self.assertEqual(users.read_text(), "# a remark\n")
        for name, password in (("a:b", "x"), ("", "x"), ("ann", ""), ("ann", "x" * 73)):
            self.bothways_command("user", "add", users, name, text=f"{password}\n", code=64)
        self.assertEqual(users.read_text(), "# a remark\n")


if __name__ == "__main__":
    unittest.main()
