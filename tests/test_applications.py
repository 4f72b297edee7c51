"""Real applications under a path: what a browser would follow and keep, with and without their help."""

import requests

from harness.origins import Portal
from harness.programs import free_port, wait_until
from harness.story import Story


class UnderAPath(Story):
    def start_portal(self, name, more="", **knows):
        portal = Portal(self.directory, name, **knows)
        self.addCleanup(portal.stop)
        at = f"127.0.0.1:{free_port()}"
        self.bothways(f"""
site {{
    listen "{at}"
    route "/portal/*" {{ strip-prefix "/portal"; {more} to "{portal.at}"; }}
    respond "the rest of the site\\n"
}}
""", name=f"{name}.kdl")
        return f"http://{at}"

    def log_in(self, url):
        """As a browser does: redirects are followed, cookies kept and sent where they belong."""
        browser = requests.Session()
        asked = browser.get(f"{url}/portal/")
        self.assertEqual((asked.status_code, asked.text), (200, "who are you?\n"))
        self.assertTrue(asked.url.startswith(f"{url}/portal/login?next="), asked.url)
        home = browser.post(asked.url, data={"user": "ann"})
        self.assertEqual(home.status_code, 200)
        self.assertTrue(home.text.startswith("hello ann, "), home.text)
        self.assertEqual(home.url, f"{url}/portal/")
        [cookie] = list(browser.cookies)
        self.assertEqual((cookie.name, cookie.path), ("session", "/portal"))
        out = browser.get(f"{url}/portal/logout")
        self.assertEqual((out.url, out.text), (f"{url}/portal/login", "who are you?\n"))
        self.assertEqual(list(browser.cookies), [])
        return browser

    def test_that_knows_nothing_of_it(self):
        url = self.start_portal("plain")
        links = self.log_in(url).get(f"{url}/portal/links").json()
        self.assertEqual((links["inside"], links["prefix"]), ("/login", ""))

    def test_that_writes_whole_urls(self):
        self.log_in(self.start_portal("absolute", PORTAL_ABSOLUTE="1"))

    def test_that_sees_its_own_host(self):
        self.log_in(self.start_portal("own", "host endpoint;", PORTAL_ABSOLUTE="1"))

    def test_that_reads_the_prefix(self):
        url = self.start_portal("knows", PORTAL_KNOWS="1", PORTAL_ABSOLUTE="1")
        links = self.log_in(url).get(f"{url}/portal/links").json()
        self.assertEqual(links, {"inside": "/portal/login", "outside": f"{url}/portal/login", "prefix": "/portal"})

    def test_that_is_left_alone(self):
        url = self.start_portal("alone", "rewrite-responses off;")
        answer = requests.get(f"{url}/portal/", allow_redirects=False)
        self.assertEqual(answer.headers["Location"], "/login?next=/")


class Maintenance(Story):
    def test_by_the_command_across_reload_and_restart(self):
        at, admin = f"127.0.0.1:{free_port()}", self.directory / "admin.sock"
        state = self.directory / "state"
        config = f"""
process {{ admin "unix:{admin}"; state "{state}" }}
site "shop.test" {{
    listen "{at}"
    maintenance retry-after="2min"
    respond "open\\n"
}}
site "*" {{ listen "{at}"; respond "another\\n"; }}
"""
        proxy = self.bothways(config)

        def ask(host="shop.test"):
            return requests.get(f"http://{at}/", headers={"Host": host})

        def command(*arguments, code=0):
            outcome = self.bothways_command("maintenance", *arguments, "--admin", f"unix:{admin}", code=code)
            return outcome.out + outcome.err

        self.assertEqual(ask().text, "open\n")
        self.assertIn("shop.test  open", command("status"))
        self.assertIn("shop.test  closed", command("on", "shop.test"))
        closed = ask()
        self.assertEqual((closed.status_code, closed.headers["Retry-After"]), (503, "120"))
        self.assertEqual(proxy.wait_for_record(status=503)["error"], "maintenance")
        self.assertEqual(ask("other.test").text, "another\n")
        proxy.reload()
        self.assertEqual(ask().status_code, 503)
        proxy.stop()
        self.bothways(config)
        self.assertEqual(ask().status_code, 503)
        self.assertIn("there is no site `nobody.test`", command("on", "nobody.test", code=1))
        self.assertIn("has no `maintenance`", command("on", "*", code=1))
        command("off")
        self.assertEqual(ask().text, "open\n")

    def test_by_a_file(self):
        at, file = f"127.0.0.1:{free_port()}", self.directory / "closed"
        self.bothways(f"""
site {{
    listen "{at}"
    maintenance file="{file}"
    respond "open\\n"
}}
""")
        file.touch()
        wait_until(lambda: requests.get(f"http://{at}/").status_code == 503, "the site is closed")
        file.unlink()
        wait_until(lambda: requests.get(f"http://{at}/").status_code == 200, "the site is open")
