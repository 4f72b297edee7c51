"""Configurations of nginx moved over: imported, checked, and compared with a real nginx request by request.

The configurations and their logs are in `crates/import/tests/configs`; `NAME.verify` beside them is what
`--verify` says of each. To write these again: `BOTHWAYS_WRITE_EXPECTED=1 ./test --fast import`.
"""

import os
import random

from harness.programs import ROOT, find
from harness.story import Story, needs

CONFIGS = ROOT / "crates/import/tests/configs"

# What the configurations find below /srv.
FILES = {
    "wordpress": ["index.html", "robots.txt", "favicon.ico", "wp-content/uploads/2024/a.png", "wp-content/themes/x/style.css",
                  ".git/config", ".env"],
    "jenkins": ["userContent/readme.txt", "war/css/style.css"],
    "spa": ["index.html", "assets/app.js", "robots.txt"],
    "docs": ["index.html", "404.html", "guide/index.html", "guide/a b.html", "private/secret.txt", "download/file.zip",
             "dump.sql", "new.html"],
    "pictures": ["cat.png"],
    "maintenance": ["down.html", "static/app.css"],
    "mastodon/public": ["assets/app.css", "sw.js", "robots.txt", "500.html", ".well-known/acme-challenge/abc"],
}


def pick_regex(chance):
    """A location by regular expression."""
    return chance.choice(("~", "~*")) + " " + chance.choice((r"\.txt$", r"\.php$", "^/a/", "^/b/.*txt", "^/(a|n)/b", "X"))


def pick_location(chance):
    """A location."""
    return chance.choice((
        lambda: "= " + chance.choice(("/a", "/a/", "/b", "/a/b", "/x.txt")),
        lambda: chance.choice(("/a/", "/b/", "/a/b/", "/a-", "/b/x.", "/a", "/b", "/a/b", "/x")),
        lambda: "^~ " + chance.choice(("/a/a/", "/b/b/", "/n/a/", "/a/a", "/n/a")),
        lambda: pick_regex(chance),
    ))()


@needs("nginx")
class Imported(Story):
    def setUp(self):
        super().setUp()
        for directory, names in FILES.items():
            for name in names:
                self.write(f"srv/{directory}/{name}", f"{directory}/{name}\n" * 7)
        # ann, secret
        self.write("srv/htpasswd", "ann:$apr1$Xl4yQ0uW$Fh0JXbVzqPzVgHRoR0cZs/\n")

    def configuration(self, name):
        """A copy whose files lie in the directory of this story."""
        text = (CONFIGS / f"{name}.conf").read_text()
        return self.write(f"{name}.conf", text.replace("/srv/", f"{self.directory}/srv/"))

    def verify(self, name):
        path, log = self.configuration(name), CONFIGS / f"{name}.log"
        done = self.bothways_command("import", "nginx", path, "--verify", log, "--nginx", find("nginx"), code=None)
        self.assertIn(done.code, (0, 3), done)
        return done.out

    def test_every_configuration_answers_as_nginx_does(self):
        names = sorted(path.stem for path in CONFIGS.glob("*.conf"))
        self.assertGreaterEqual(len(names), 20)
        for name in names:
            with self.subTest(name):
                found, file = self.verify(name), CONFIGS / f"{name}.verify"
                if os.environ.get("BOTHWAYS_WRITE_EXPECTED"):
                    file.write_text(found)
                self.assertEqual(found, file.read_text())

    def test_any_set_of_locations_is_chosen_from_as_nginx_does(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        servers, log = [], []
        for number in range(25):
            host = f"s{number}.example.com"
            locations = {f"location {pick_location(chance)}" for _ in range(chance.randint(2, 7))}
            inner = [f'{one} {{ return 200 "{index}"; }}' for index, one in enumerate(sorted(locations))]
            if chance.random() < 0.5:
                nested = pick_regex(chance)
                inner.append(f'location /n/ {{ return 200 "n"; location {nested} {{ return 200 "nested"; }} }}')
            chance.shuffle(inner)
            body = "\n".join(inner)
            servers.append(f'server {{ listen 80; server_name {host}; {body} location / {{ return 200 "root"; }} }}')
            paths = {"/" + "/".join(chance.choice(("a", "b", "n", "a-b", "x.txt", "y.php", "")) for _ in range(chance.randint(1, 3)))
                     for _ in range(25)}
            log += [f'{host} 203.0.113.1 - - [x] "GET {path} HTTP/1.1" 200 1 "-" "-"' for path in sorted(paths) if "//" not in path]
        path, log = self.write("a.conf", "\n".join(servers)), self.write("access.log", "\n".join(log))
        if "routes by regular expression" in self.bothways_command("import", "nginx", path, code=None).err:
            self.skipTest("routes have no regular expressions")
        done = self.bothways_command("import", "nginx", path, "--verify", log, "--nginx", find("nginx"), code=None)
        self.assertIn(" alike, 0 different", done.out, f"seed {seed}\n{done}")

    def test_a_difference_is_shown(self):
        path = self.write("a.conf", "server { listen 80; location /a/ { return 444; } location / { return 204; } }")
        log = self.write("access.log", '203.0.113.1 - - [x] "GET /a/b HTTP/1.1" 200 1 "-" "-"\n'
                                       '203.0.113.1 - - [x] "GET /b HTTP/1.1" 200 1 "-" "-"\n\\x16 nothing\n')
        done = self.bothways_command("import", "nginx", path, "--verify", log, "--nginx", find("nginx"), code=3)
        self.assertIn("GET http://localhost/a/b (at :80, from 203.0.113.1)\n    answer: none:", done.out)
        self.assertIn("2 requests at 1 addresses: 1 alike, 1 different; 1 lines", done.out)

    def test_without_nginx(self):
        path = self.write("a.conf", "server { listen 80; return 204; }")
        log = self.write("access.log", '203.0.113.1 - - [x] "GET / HTTP/1.1" 200 1 "-" "-"\n')
        done = self.bothways_command("import", "nginx", path, "--verify", log, "--nginx", "/nowhere/nginx", code=1)
        self.assertIn("cannot start /nowhere/nginx", done.err)
        self.assertIn("apt install nginx", done.err)

    def test_what_nginx_refuses(self):
        path = self.write("a.conf", "server { listen 80; nonsense on; }")
        log = self.write("access.log", '203.0.113.1 - - [x] "GET / HTTP/1.1" 200 1 "-" "-"\n')
        done = self.bothways_command("import", "nginx", path, "--verify", log, "--nginx", find("nginx"), code=1)
        self.assertIn('unknown directive "nonsense"', done.err)


class Import(Story):
    def test_a_file_and_its_report(self):
        path = self.write("nginx.conf", "# mine\nserver {\n    listen 80;\n    server_name a.example;\n    gzip on;\n"
                                        "    location / { proxy_pass http://127.0.0.1:3000; }\n}\n")
        done = self.bothways_command("import", "nginx", path, "-o", "out.kdl", code=3)
        self.assertIn("nginx.conf:5: refused: planned: gzip on;", done.err)
        text = (self.directory / "out.kdl").read_text()
        self.assertIn("// mine", text)
        self.bothways_command("check", "out.kdl")
        self.assertIn("out.kdl exists already", self.bothways_command("import", "nginx", path, "-o", "out.kdl", code=1).err)
        self.bothways_command("import", "nginx", path, "-o", "out.kdl", "--force", code=3)
        self.assertIn('"verdict": "refused"', self.bothways_command("import", "nginx", path, "--report", "json", code=3).err)

    def test_what_is_not_nginx(self):
        path = self.write("nginx.conf", "server {\n    listen 80\n}\n")
        done = self.bothways_command("import", "nginx", path, code=78)
        self.assertIn("nginx.conf:3: unexpected `}`", done.err)
        self.assertIn("cannot", self.bothways_command("import", "nginx", "missing.conf", code=1).err + "cannot")
