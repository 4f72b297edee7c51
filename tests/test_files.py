"""Files served by the proxy itself."""

import os

from harness.clients import connect, read_to_end, request
from harness.programs import free_port
from harness.story import Story, needs


class Files(Story):
    def setUp(self):
        super().setUp()
        self.at = f"127.0.0.1:{free_port()}"
        self.write("secret", "secret\n")
        self.write("www/index.html", "<h1>home</h1>\n")
        self.write("www/docs/index.html", '<a href="page.html">page</a> <a href="../big">big</a>')
        self.write("www/docs/page.html", "a page\n")
        self.write("www/empty.txt", "")
        self.big = os.urandom(5 << 20)
        (self.directory / "www/big").write_bytes(self.big)
        # A file that has just changed may change again within the same tick: its tag is a weak one.
        os.utime(self.directory / "www/big", (1_700_000_000, 1_700_000_000))
        (self.directory / "www/out").symlink_to("../secret")
        (self.directory / "www/outside").symlink_to("/etc")
        os.mkfifo(self.directory / "www/pipe")
        self.bothways(f"""
site "www.test" {{
    listen "{self.at}"
    files "www"
}}
site "app.test" {{
    listen "{self.at}"
    files "www" {{
        fallback "/index.html"
    }}
}}
""")

    def get(self, target, **fields):
        return request(self.at, target=target, Host="www.test", **fields)

    @needs("wget")
    def test_a_mirror(self):
        self.run_command("wget", "-q", "-r", "-nH", "-P", "copy", "--header", "Host: www.test", f"http://{self.at}/docs/")
        self.assertEqual((self.directory / "copy/docs/page.html").read_text(), "a page\n")
        self.same_bytes((self.directory / "copy/big").read_bytes(), self.big)

    def test_conditions_and_ranges(self):
        status, fields, body = self.get("/big")
        self.assertEqual(status, 200)
        self.same_bytes(body, self.big)
        self.assertEqual(self.get("/big", If_None_Match=fields["etag"])[0], 304)
        self.assertEqual(self.get("/big", If_Modified_Since=fields["last-modified"])[0], 304)
        status, part, body = self.get("/big", Range="bytes=1000000-1999999", If_Range=fields["etag"])
        self.assertEqual(status, 206)
        self.same_bytes(body, self.big[1_000_000:2_000_000])
        self.assertEqual(part["content-range"], f"bytes 1000000-1999999/{len(self.big)}")
        self.assertEqual(self.get("/big", Range="bytes=-5")[2], self.big[-5:])
        self.assertEqual(self.get("/big", Range="bytes=9999999-")[0], 416)
        # What curl does with a download that broke off.
        (self.directory / "part").write_bytes(self.big[:3_000_000])
        self.curl("-C", "-", "-o", "part", "-H", "Host: www.test", f"http://{self.at}/big")
        self.same_bytes((self.directory / "part").read_bytes(), self.big)
        self.assertEqual(self.get("/empty.txt")[2], b"")
        status, fields, body = request(self.at, "HEAD", "/docs/page.html", Host="www.test")
        self.assertEqual((status, fields["content-length"], body), (200, "7", b""))
        self.assertIn("text/html", fields["content-type"])
        self.assertIn(request(self.at, "DELETE", "/big", Host="www.test")[0], (404, 405))

    def test_nothing_outside_is_reached(self):
        targets = ["/../secret", "/docs/../../secret", "/%2e%2e/secret", "/..%2fsecret", "/.%2e/secret", "/out",
                   "/outside/passwd", "//etc/passwd", "/docs/..\\..\\secret", "/%00", "/docs/page.html%00.txt", "/pipe",
                   "/docs/page.html/", "/..;/secret", "/...//secret", "/%252e%252e/secret"]
        for target in targets:
            with self.subTest(target), connect(self.at) as client:
                client.sendall(f"GET {target} HTTP/1.1\r\nHost: www.test\r\nConnection: close\r\n\r\n".encode())
                answer = read_to_end(client)
                self.assertRegex(answer, rb"^HTTP/1\.1 (400|403|404) ")
                self.assertNotIn(b"secret\n", answer)

    def test_an_application_of_one_page(self):
        self.assertEqual(request(self.at, target="/some/view", Host="app.test")[2], b"<h1>home</h1>\n")
        self.assertEqual(self.get("/some/view")[0], 404)
        status, fields, _ = self.get("/docs?a=b")
        self.assertIn(status, (301, 308))
        self.assertTrue(fields["location"].endswith("/docs/?a=b"), fields)
