"""Routes by suffix, regular expression and condition; clients by address; files that are tried, and the application behind them."""

from harness.programs import free_port
from harness.story import Story


class Matching(Story):
    def setUp(self):
        super().setUp()
        self.at, self.app = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.write("www/index.html", "home\n")
        self.write("www/about.html", "about\n")
        self.write("www/docs/index.html", "docs\n")
        self.write("www/empty/picture", "picture\n")
        self.write("www/t1/page.html", "page of t1\n")
        self.proxy = self.bothways(f"""
listen "{self.at}" {{ trusted-proxy "127.0.0.1" }}
site "*" {{
    listen "{self.app}"
    response {{ set "X-Path" "{{path}}" }}
    respond "application\\n"
}}
site "shop.test" {{
    listen "{self.at}"
    route "*.php" {{ respond "php\\n" }}
    route "/blog/*.php" {{ respond "blog\\n" }}
    route ~ "^/u/(?<id>[0-9]+)$" {{ redirect "/users/{{id}}" }}
    route "/api/*" {{ when field="X-Version" is="2"; respond "two\\n" }}
    route "/api/*" priority=1 {{ when query="debug"; when cookie="beta" is="1"; respond "debug\\n" }}
    route "/api/*" {{ when from="10.0.0.0/8"; unless method="PUT" path="/api/v1/*"; respond "inside\\n" }}
    route "/api/*" {{ respond "one\\n" }}
    route "/api/*" method="DELETE" {{ when field="X-Sure"; respond "deleted\\n" }}
    route "/only" method="POST" {{ unless query="dry"; respond "posted\\n" }}
    respond "shop\\n"
}}
site "{{tenant}}.test" {{
    listen "{self.at}"
    response {{ set "X-Tenant" "{{tenant}}" }}
    route "/pages/*" {{
        rewrite "/{{rest}}"
        files "www" {{ try "/{{tenant}}{{path}}.html" "/about.html" }}
    }}
    respond "tenant\\n"
}}
site "inside.test" {{
    listen "{self.at}"
    deny from="10.6.6.6"
    allow from="10.0.0.0/8"
    route "/open" {{ allow; respond "open\\n" }}
    respond "inside\\n"
}}
site "spa.test" {{
    listen "{self.at}"
    files "www" {{ try "{{path}}" "{{path}}.html" "{{path}}/" "/index.html" }}
}}
site "gone.test" {{
    listen "{self.at}"
    files "www" {{ try "{{path}}" status=410 }}
}}
site "app.test" {{
    listen "{self.at}"
    files "www" {{ to "{self.app}" }}
}}
""")

    def get(self, host, target, *arguments):
        """Status and body."""
        out = self.curl("-w", "%{http_code}", "-H", f"Host: {host}", *arguments, f"http://{self.at}{target}").out
        return int(out[-3:]), out[:-3]

    def is_from(self, host, target, address):
        return self.get(host, target, "-H", f"X-Forwarded-For: {address}")

    def test_paths(self):
        for target, expected in [
            ("/", "shop\n"),
            ("/a/b.php", "php\n"),
            ("/blog/x.php", "blog\n"),
            ("/a.php/b", "shop\n"),
        ]:
            with self.subTest(target):
                self.assertEqual(self.get("shop.test", target), (200, expected))
        answer = self.curl("-i", "-H", "Host: shop.test", f"http://{self.at}/u/17").out
        self.assertIn("308", answer.splitlines()[0])
        self.assertRegex(answer.lower(), r"location: /users/17\r?\n")
        self.assertEqual(self.get("shop.test", "/u/x"), (200, "shop\n"))
        # A server may see another suffix: then it is not certain which route is meant.
        self.assertEqual(self.get("shop.test", "/a.php;x")[0], 400)
        self.assertEqual(self.get("shop.test", "/a.php%00.txt")[0], 400)

    def test_conditions(self):
        api = lambda *arguments, target="/api/x": self.get("shop.test", target, *arguments)
        self.assertEqual(api(), (200, "one\n"))
        self.assertEqual(api("-H", "X-Version: 2"), (200, "two\n"))
        self.assertEqual(api("-H", "X-Version: 3"), (200, "one\n"))
        self.assertEqual(api("-b", "beta=1", target="/api/x?a=1&debug=on"), (200, "debug\n"))
        self.assertEqual(api("-b", "beta=2", target="/api/x?debug=on"), (200, "one\n"))
        self.assertEqual(self.is_from("shop.test", "/api/x", "10.1.1.1"), (200, "inside\n"))
        self.assertEqual(self.is_from("shop.test", "/api/x", "192.0.2.1"), (200, "one\n"))
        put = ("-X", "PUT", "-H", "X-Forwarded-For: 10.1.1.1")
        self.assertEqual(api(*put, target="/api/v1/x"), (200, "one\n"))
        self.assertEqual(api(*put, target="/api/v2/x"), (200, "inside\n"))
        self.assertEqual(api("-X", "DELETE", "-H", "X-Sure: yes"), (200, "deleted\n"))
        self.assertEqual(api("-X", "DELETE"), (200, "one\n"))
        # 405 only if nothing but the method is in the way; here another route takes it.
        self.assertEqual(self.get("shop.test", "/only", "-X", "POST"), (200, "posted\n"))
        self.assertEqual(self.get("shop.test", "/only", "-X", "POST", "-G", "-d", "dry=1"), (200, "shop\n"))

    def test_labels_of_the_host(self):
        answer = self.curl("-i", "-H", "Host: T1.test", f"http://{self.at}/").out
        self.assertRegex(answer.lower(), r"x-tenant: t1\r?\n")
        self.assertEqual(self.get("t1.test", "/pages/page"), (200, "page of t1\n"))
        self.assertEqual(self.get("t2.test", "/pages/page"), (200, "about\n"))
        self.assertEqual(self.get("a.b.test", "/")[0], 421)

    def test_clients_by_address(self):
        self.assertEqual(self.is_from("inside.test", "/", "10.1.1.1"), (200, "inside\n"))
        self.assertEqual(self.is_from("inside.test", "/", "10.6.6.6")[0], 403)
        self.assertEqual(self.is_from("inside.test", "/", "192.0.2.1")[0], 403)
        self.assertEqual(self.is_from("inside.test", "/open", "10.6.6.6"), (200, "open\n"))
        record = self.proxy.wait_for_record(status=403, client="10.6.6.6")
        self.assertIn("clients at this address are not accepted", str(record))

    def test_files_that_are_tried(self):
        self.assertEqual(self.get("spa.test", "/about.html"), (200, "about\n"))
        self.assertEqual(self.get("spa.test", "/about"), (200, "about\n"))
        self.assertEqual(self.get("spa.test", "/docs/"), (200, "docs\n"))
        status, _ = self.get("spa.test", "/docs?a=b")
        self.assertEqual(status, 301)
        self.assertEqual(self.get("spa.test", "/docs?a=b", "-L")[0], 200)
        self.assertEqual(self.get("spa.test", "/empty"), (200, "home\n"))  # a directory without an index
        self.assertEqual(self.get("spa.test", "/orders/17"), (200, "home\n"))
        self.assertEqual(self.get("spa.test", "/.git/config"), (200, "home\n"))
        self.assertEqual(self.get("spa.test", "/about", "-X", "POST")[0], 405)
        self.assertEqual(self.get("gone.test", "/about.html"), (200, "about\n"))
        self.assertEqual(self.get("gone.test", "/about")[0], 410)
        for target in ["/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/secret"]:
            status, body = self.get("spa.test", target, "--path-as-is")
            self.assertTrue(status in (400, 404) or body == "home\n", f"{target}: {status} {body}")

    def test_files_or_else_the_application(self):
        self.assertEqual(self.get("app.test", "/about.html"), (200, "about\n"))
        self.assertEqual(self.get("app.test", "/"), (200, "home\n"))
        self.assertEqual(self.get("app.test", "/docs")[0], 301)
        for target in ["/orders/17", "/about", "/empty", "/empty/"]:
            self.assertEqual(self.get("app.test", target), (200, "application\n"), target)
        self.assertEqual(self.get("app.test", "/about.html", "-X", "POST", "-d", "a=b"), (200, "application\n"))
        answer = self.curl("-I", "-H", "Host: app.test", f"http://{self.at}/about.html").out
        self.assertRegex(answer.lower(), r"content-length: 6\r?\n")

    def test_explained(self):
        path = self.directory / "bothways.kdl"
        explain = lambda *arguments: self.bothways_command("explain", "-c", path, *arguments).out
        told = explain(f"http://shop.test:{self.at.split(':')[1]}/api/x", "-H", "X-Version: 3")
        self.assertIn("the field X-Version is `3`", told)
        self.assertIn("the request has no parameter debug", told)
        self.assertIn("the client is 127.0.0.1", told)
        told = explain(f"http://inside.test:{self.at.split(':')[1]}/", "--from", "10.6.6.6")
        self.assertIn('deny from="10.6.6.6"', told)
        self.assertIn("refused (403)", told)
        checked = self.bothways_command("check", path)
        self.assertNotIn("warning", checked.out + checked.err)


class Ties(Story):
    def test_check_names_both_places(self):
        self.write("bothways.kdl", """site "a" {
    listen "127.0.0.1:1"
    route "/a/*" { when field="X-A"; respond "a" }
    route "/a/*" { when cookie="b"; respond "b" }
    route ~ "^/x" { respond "x" }
    route ~ "/y$" { respond "y" }
    route "/loop" { redirect "/loop" }
    route "/api/*" { strip-prefix "/apii"; to "127.0.0.1:3000" }
    allow from="10.0.0.0/8"
    allow from="10.1.0.0/16"
    respond
}
""")
        told = self.bothways_command("check", "bothways.kdl").err
        for place, words in [
            ("4:5", "the one written first takes them"),
            ("6:5", "the one written first takes them"),
            ("7:21", "the redirect leads to itself"),
            ("8:22", "nothing is removed"),
            ("10:5", "is never reached"),
        ]:
            with self.subTest(place):
                self.assertRegex(told, rf"bothways\.kdl:{place}: warning: .*{words}")
        self.bothways_command("check", "--strict", "bothways.kdl", code=78)
