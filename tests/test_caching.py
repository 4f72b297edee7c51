"""The cache: the examples of docs/caching.md with real programs, and how operators see and steer it."""

import contextlib
import hashlib
import json
import re
import socket
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from harness.programs import free_port, wait_until
from harness.story import Story

DOCS = Path(__file__).resolve().parent.parent / "docs" / "caching.md"
FILM = hashlib.shake_128(b"film").digest(3_000_000)


def examples(heading):
    """The examples of a section of the page."""
    text = DOCS.read_text("utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```kdl\n(.*?)```", text, re.S)


class Origin:
    """A server whose responses a function makes: of the handler, (status, fields, body)."""

    def __init__(self, answer):
        self.seen, self.connections = [], []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                origin.connections.append(self.connection)

            def respond(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                origin.seen.append(f"{self.command} {self.path}")
                status, fields, body = answer(self)
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD" and status != 304:
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PURGE = respond

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.server.daemon_threads = True
        self.at = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        """Ends it, with its idle connections."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def count(self, line):
        return self.seen.count(line)


class Caches(Story):
    def origin(self, answer):
        origin = Origin(answer)
        self.addCleanup(origin.stop)
        return origin

    def from_page(self, text, site, origin, name="bothways.kdl", addresses=("10.0.0.1:8080",)):
        """Starts an example of the page: it listens on a free port, and its endpoints are the origin."""
        at = f"127.0.0.1:{free_port()}"
        for address in addresses:
            text = text.replace(f'"{address}"', f'"{origin}"')
        text = re.sub(r'\n *listen ":\d+"', "", text).replace(f'site "{site}" {{', f'site "{site}" {{\n    listen "{at}"')
        text = text.replace('from="10.0.0.1"', 'from="127.0.0.1"').replace('from="10.0.0.0/8"', 'from="127.0.0.0/8"')
        text = re.sub(r"^process .*\n", "", text, flags=re.M)
        admin = name.replace(".kdl", ".sock")
        self.url = f"http://{site}"
        proxy = self.bothways(f'process {{ cores 2; admin "unix:{admin}"; }}\n{text}', name=name)
        return at, proxy

    def get(self, at, path, site, **fields):
        return requests.get(f"http://{at}{path}", headers={"Host": site, **fields}, timeout=30)

    def cache(self, *arguments, name="bothways.kdl", code=0):
        return self.bothways_command("cache", *arguments, "--config", name, code=code)

    def ours(self, answer):
        """What our cache says of a response."""
        return answer.headers.get("Cache-Status", "").split(",")[-1].strip()

    def test_a_blog(self):
        def answer(request):
            if request.command == "PURGE":
                return 405, {}, b""
            who = "ann" if "wordpress_logged_in" in request.headers.get("Cookie", "") else "readers"
            return 200, {"Content-Type": "text/html"}, f"a page for {who}".encode()

        blog, site = self.origin(answer), "blog.example.com"
        at, proxy = self.from_page(examples("A blog")[0], site, blog.at)
        first = self.get(at, "/post?utm_source=a", site)
        self.assertIn("fwd=uri-miss", self.ours(first))
        self.assertIn("stored", self.ours(first))
        again = self.get(at, "/post?utm_source=b&fbclid=1", site)
        self.assertIn("hit", self.ours(again))
        self.assertEqual((again.text, len(blog.seen)), ("a page for readers", 1))
        self.assertIn("Age", again.headers)
        # Who has logged in gets pages of their own, and nobody else gets those.
        logged_in = self.get(at, "/post", site, Cookie="wordpress_logged_in_7=ann")
        self.assertEqual(logged_in.text, "a page for ann")
        self.assertEqual(self.get(at, "/post", site).text, "a page for readers")
        self.get(at, "/wp-admin/x", site)
        self.get(at, "/wp-admin/x", site)
        self.assertEqual(blog.count("GET /wp-admin/x"), 2)
        self.assertEqual(proxy.wait_for_record(cache="miss")["cache_reason"], "miss")
        hit = proxy.wait_for_record(cache="hit")
        self.assertNotIn("dialled", hit)
        self.assertEqual(proxy.wait_for_record(cache="pass")["cache_reason"], "pass")
        self.assertNotIn("cache", proxy.wait_for_record(route="/wp-admin/*"))
        # The blog purges a page itself, from its own address; others cannot.
        for sender, count in (("127.0.0.2", 0), ("127.0.0.1", 1)):
            before = blog.count("GET /post")
            self.curl("-X", "PURGE", "--interface", sender, "-H", f"Host: {site}", f"http://{at}/post")
            self.get(at, "/post", site)
            self.assertEqual(blog.count("GET /post"), before + count, sender)
        # The blog is down: the last page is still sent, for a day.
        self.cache("purge", f"{self.url}/post", "--soft")
        blog.stop()
        stale = self.get(at, "/post", site)
        self.assertEqual((stale.status_code, stale.text), (200, "a page for readers"))
        proxy.wait_for_record(cache="stale")
        self.assertGreaterEqual(self.get(at, "/other", site).status_code, 500)

    def test_an_api(self):
        version = [1]

        def answer(request):
            if request.command == "POST":
                version[0] += 1
                return 201, {"Location": "/v1/items"}, b""
            if request.path == "/v1/prices":
                return 200, {"Cache-Control": "no-cache"}, b"42"
            tag = f'"{version[0]}"'
            if request.headers.get("If-None-Match") == tag:
                return 304, {"ETag": tag}, b""
            return 200, {"ETag": tag}, f"version {version[0]}".encode()

        api, site = self.origin(answer), "api.example.com"
        at, proxy = self.from_page(examples("An API")[0], site, api.at)
        self.assertEqual(self.get(at, "/v1/items", site).text, "version 1")
        validated = self.get(at, "/v1/items", site)
        self.assertEqual((validated.status_code, validated.text), (200, "version 1"))
        self.assertIn("fwd-status=304", self.ours(validated))
        proxy.wait_for_record(cache="revalidated")
        known = self.get(at, "/v1/items", site, **{"If-None-Match": '"1"'})
        self.assertEqual((known.status_code, known.content), (304, b""))
        for _ in range(3):
            self.assertEqual(self.get(at, "/v1/prices", site).text, "42")
        self.assertEqual(api.count("GET /v1/prices"), 1)
        requests.post(f"http://{at}/v1/new", headers={"Host": site}, timeout=30)
        self.assertEqual(self.get(at, "/v1/items", site).text, "version 2")

    def test_films(self):
        def answer(request):
            return 200, {"ETag": '"film"', "Content-Type": "video/mp4", "Accept-Ranges": "bytes"}, FILM

        films, site = self.origin(answer), "films.example.com"
        at, _ = self.from_page(examples("Films")[0], site, films.at)
        self.same_bytes(self.get(at, "/a.mp4", site).content, FILM)
        part = self.get(at, "/a.mp4", site, Range="bytes=1000-1999")
        self.assertEqual((part.status_code, part.headers["Content-Range"]), (206, f"bytes 1000-1999/{len(FILM)}"))
        self.same_bytes(part.content, FILM[1000:2000])
        self.same_bytes(self.get(at, "/a.mp4", site, Range="bytes=-500").content, FILM[-500:])
        several = self.get(at, "/a.mp4", site, Range="bytes=0-9,2000000-2000009")
        self.assertTrue(several.headers["Content-Type"].startswith("multipart/byteranges"))
        self.assertIn(FILM[2000000:2000010], several.content)
        beyond = self.get(at, "/a.mp4", site, Range="bytes=9999999-")
        self.assertEqual(beyond.status_code, 416)
        self.assertEqual(films.seen, ["GET /a.mp4"])

    def test_a_mirror_for_packages(self):
        package = hashlib.shake_128(b"package").digest(200_000)

        def answer(request):
            if request.path.endswith(".deb"):
                return 200, {"Last-Modified": formatdate(1_700_000_000, usegmt=True)}, package
            return 200, {"Cache-Control": "max-age=0", "ETag": '"1"'}, b"the list of packages"

        repository, site = self.origin(answer), "deb.internal"
        text = examples("A mirror for packages")[0]
        by_proxy = f"127.0.0.1:{free_port()}"
        text = text.replace('forward ":3128" {', f'forward "{by_proxy}" {{\n    ports any')
        text = text.replace('allow from="10.0.0.0/8"', f'allow to="127.0.0.1"', 1)
        at, proxy = self.from_page(text, site, repository.at, addresses=("https://deb.debian.org",))
        for _ in range(2):
            self.same_bytes(self.get(at, "/debian/a_1.deb", site).content, package)
        self.assertEqual(repository.count("GET /debian/a_1.deb"), 1)
        for _ in range(2):
            self.assertEqual(self.get(at, "/debian/Packages", site).text, "the list of packages")
        self.assertEqual(repository.count("GET /debian/Packages"), 2)
        # The same through the forward proxy, whose clients say themselves when they want a new one.
        url = f"http://{repository.at}/pool/b_1.deb"
        for more in ([], [], ["-H", "Cache-Control: no-cache"]):
            self.curl("-x", f"http://{by_proxy}", "-o", self.directory / "b.deb", url, *more)
            self.same_bytes((self.directory / "b.deb").read_bytes(), package)
        self.assertEqual(repository.count("GET /pool/b_1.deb"), 2)
        proxy.wait_for_record(direction="forward", cache="hit")
        # The repository is down.
        repository.stop()
        self.same_bytes(self.get(at, "/debian/a_1.deb", site).content, package)
        self.assertEqual(self.get(at, "/debian/Packages", site).text, "the list of packages")

    def test_a_cdn_in_two_tiers(self):
        version = [1]

        def answer(_):
            fields = {"CDN-Cache-Control": "max-age=86400", "Cache-Control": "max-age=60", "Surrogate-Key": "page product-7"}
            return 200, fields, f"version {version[0]}".encode()

        origin, site = self.origin(answer), "www.example.com"
        shield_text, edge_text = examples("A CDN in two tiers")
        shield, _ = self.from_page(shield_text, site, origin.at, "shield.kdl", ("10.1.0.1:80",))
        edges = [self.from_page(edge_text, site, shield, f"edge{n}.kdl")[0] for n in (1, 2)]
        for edge in edges:
            for _ in range(2):
                answer = self.get(edge, "/page", site)
                self.assertEqual(answer.text, "version 1")
                self.assertNotIn("Surrogate-Key", answer.headers)
        self.assertIn("Surrogate-Key", self.get(shield, "/page", site).headers)
        self.assertEqual(origin.count("GET /page"), 1)
        # A page has changed: its tag is purged at the shield first, then at the edges.
        version[0] = 2
        for name in ("shield", "edge1", "edge2"):
            self.cache("purge", "--tag", "product-7", name=f"{name}.kdl")
        for edge in edges:
            self.assertEqual(self.get(edge, "/page", site).text, "version 2")
        self.assertEqual(origin.count("GET /page"), 2)

    def test_how_operators_see_and_steer_it(self):
        together = threading.Barrier(4)

        def answer(request):
            if request.path == "/gone":
                return 404, {}, b""
            if request.path.startswith("/slow/"):
                together.wait(timeout=20)
            fields = {"Cache-Control": "max-age=600", "Vary": "Accept-Language", "Cache-Tag": "all, x"}
            return 200, fields, request.path.encode()

        origin, at = self.origin(answer), f"127.0.0.1:{free_port()}"
        admin, site = f"127.0.0.1:{free_port()}", "shop.example.com"
        proxy = self.bothways(f"""
process {{ admin "{admin}"; state "state"; cache memory="16MiB"; }}
site "{site}" {{
    listen "{at}"
    cache stale="1h" {{ key {{ query drop="utm_*"; }}; }}
    to "{origin.at}"
}}
""")
        url = f"http://{site}"
        self.get(at, "/a?utm_x=1", site, **{"Accept-Language": "de"})
        self.get(at, "/a", site, **{"Accept-Language": "en"})
        self.get(at, "/a", site, **{"Accept-Language": "en"})
        # What is stored, by the URL as clients write it.
        shown = self.cache("show", f"{url}/a?utm_y=2").out
        for words in (f"{url}/a\n", "200 · 2 B · fresh for", "as it says itself", "for requests with accept-language: de",
                      "for requests with accept-language: en", "tags: all, x", "bothways.kdl:5", "then still sent for 1h"):
            self.assertIn(words, shown)
        stored = json.loads(self.cache("show", f"{url}/a", "--json").out)["stored"]
        self.assertEqual(sorted(one["vary"]["accept-language"] for one in stored), ["de", "en"])
        self.assertEqual({one["fresh_for"] for one in stored}, {600})
        self.assertIn("nothing is stored", self.cache("show", f"{url}/b", code=1).err)
        stats = json.loads(self.cache("stats", "--json").out)
        self.assertEqual((stats["objects"], stats["bytes_max"]), (2, 16 << 20))
        self.assertEqual(stats["sites"][0]["results"]["hit"], 1)
        self.assertEqual(stats["sites"][0]["results"]["miss"], 2)
        for words in ("2 responses", "of 16.0 MiB", site, "33 %"):
            self.assertIn(words, self.cache().out)
        metrics = requests.get(f"http://{admin}/metrics", timeout=30).text
        self.assertIn(f'bothways_cache_requests_total{{direction="reverse",scope="{site}",result="hit"}} 1', metrics)
        self.assertIn("bothways_cache_objects 2", metrics)

        def is_stored(path):
            return "hit" in self.ours(self.get(at, path, site, **{"Accept-Language": "en"}))

        def fill():
            for path in ("/a", "/b/1", "/b/2", "/c"):
                self.get(at, path, site, **{"Accept-Language": "en"})
            self.assertTrue(all(map(is_stored, ("/a", "/b/1", "/b/2", "/c"))))

        for arguments, gone, left in (
            ([f"{url}/a?utm_z=1"], ["/a"], ["/b/1", "/c"]),
            (["--prefix", f"{url}/b/"], ["/b/1", "/b/2"], ["/a", "/c"]),
            (["--host", url.removeprefix("http://")], ["/a", "/b/1", "/c"], []),
            (["--host", "other.example"], [], ["/a", "/c"]),
            (["--tag", "x"], ["/a", "/c"], []),
            (["--tag", "y"], [], ["/a", "/c"]),
            (["--all"], ["/a", "/b/2"], []),
        ):
            fill()
            self.cache("purge", *arguments)
            self.assertEqual([path for path in gone if is_stored(path)], [], arguments)
            self.assertEqual([path for path in left if not is_stored(path)], [], arguments)
        # Softly: it is stale, so it is sent while a new one is fetched.
        fill()
        self.cache("purge", f"{url}/a", "--soft")
        self.assertIn("stale: purged", self.cache("show", f"{url}/a").out)
        before = origin.count("GET /a")
        self.get(at, "/a", site, **{"Accept-Language": "en"})
        proxy.wait_for_record(cache="stale")
        wait_until(lambda: origin.count("GET /a") == before + 1, "it is fetched again")
        # What is refused.
        self.assertIn("nothing is named", self.cache("purge", code=64).err)
        self.assertIn("is not a URL", self.cache("purge", "shop.example.com/a", code=1).err)
        for page in ("/cache/purge?all", "/cache/purge?what=x"):
            self.assertEqual(requests.post(f"http://{admin}{page}", timeout=30).status_code, 403)
        # A list, then a sitemap.
        self.cache("purge", "--all")
        urls = [f"{url}/w/{number}" for number in range(50)]
        self.write("urls.txt", "# pages\n" + "\n".join(urls) + "\n")
        self.assertIn("50 of 50: 50 stored, 0 were there, 0 not stored, 0 failed", self.cache("warm", "urls.txt", "--to", at).out)
        locations = "".join(f"<url><loc>{one}</loc></url>" for one in [*urls, f"{url}/gone"])
        self.write("sitemap.xml", f'<?xml version="1.0"?><urlset>{locations}</urlset>')
        warmed = self.cache("warm", "sitemap.xml", "--jobs", "8", "--to", at, code=1)
        self.assertIn("51 of 51: 0 stored, 50 were there, 0 not stored, 1 failed", warmed.out)
        self.assertIn("/gone: the response was 404", warmed.err)
        # Four at once: this origin answers none before all have asked.
        self.write("slow.txt", "\n".join(f"{url}/slow/{number}" for number in range(4)))
        self.assertIn("4 of 4: 4 stored", self.cache("warm", "slow.txt", "--to", at).out)
        # Without an address, that of the listener.
        self.write("urls.txt", f"http://{site}:{at.rsplit(':', 1)[1]}/w/1\nhttp://other.example:1/\nhttps://{site}/\n")
        warmed = self.cache("warm", "urls.txt", code=1)
        self.assertIn("3 of 3: 1 stored, 0 were there, 0 not stored, 2 failed", warmed.out)
        self.assertIn("no listener of the configuration serves it", warmed.err)
        self.assertIn("only cleartext listeners can be asked", warmed.err)
