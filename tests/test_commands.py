"""The program as somebody new to it meets it, at a command line."""

import json
import os
import re
import signal

from harness.bothways import binary, json_lines
from harness.clients import request
from harness.origins import nginx
from harness.programs import ROOT, accepts, free_port, wait_until
from harness.story import Story

UNTIDY = """\
// a shop
site   "shop.test"   {
  listen ":8080"  // in front
  route "/api/*" {   to "127.0.0.1:9000" ; }
      route "/old/*" { redirect "/new/{rest}"; }
  to "127.0.0.1:9001" }
forward "127.0.0.1:3128" {
 deny to="*.ads.test"

 allow from="10.0.0.0/8"
}
expect "GET http://shop.test/old/a" status=308 location="/new/a"
expect "GET http://shop.test/api/x" upstream="127.0.0.1:9000"
expect "CONNECT x.ads.test:443" forward="127.0.0.1:3128" from="10.1.1.1" denied=#true
expect "CONNECT example.com:443" forward="127.0.0.1:3128" from="10.1.1.1" denied=#false
"""


class Commands(Story):
    def test_fmt(self):
        path = self.write("bothways.kdl", UNTIDY)
        self.assertNotEqual(self.bothways_command("fmt", "--check", path, code=None).code, 0)
        self.assertEqual(path.read_text(), UNTIDY, "--check changes nothing")
        self.bothways_command("fmt", path)
        tidy = path.read_text()
        self.assertIn("// a shop", tidy)
        self.assertIn("// in front", tidy)
        self.assertIn('    route "/old/*" {', tidy)
        self.bothways_command("fmt", "--check", path)
        self.bothways_command("check", path)

    def test_check(self):
        path = self.write("bothways.kdl", UNTIDY)
        self.bothways_command("check", path)
        self.bothways_command("check")
        wrong = UNTIDY.replace("status=308", "status=301").replace("denied=#false", "denied=#true")
        done = self.bothways_command("check", self.write("wrong.kdl", wrong), code=78)
        for words in ("wrong.kdl:12", "wrong.kdl:15", "308"):
            self.assertIn(words, done.out + done.err)

    def test_every_mistake_is_shown_at_once(self):
        path = self.write("bad.kdl", 'site "a" {\n    listen ":80"\n    tp "127.0.0.1:1"\n'
                                     '    timeouts {\n        connect "3 parsecs"\n    }\n}\nupstraem b {\n}\n')
        done = self.bothways_command("check", path, code=78)
        for words in ("bad.kdl:3:5", "bad.kdl:5:", "bad.kdl:8:1", "did you mean `upstream`", "^^^^", "3 parsecs"):
            self.assertIn(words, done.err + done.out)
        self.bothways_command("run", "--config", path, code=78)

    def test_usage(self):
        self.assertIn("explain", self.bothways_command("help").out)
        self.bothways_command("nonsense", code=64)
        self.bothways_command("run", "--nonsense", code=64)
        self.assertIn("no configuration found", self.bothways_command("run", code=78).err)
        self.assertRegex(self.bothways_command("version").out, r"bothways \d")
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("bothways", self.bothways_command("completions", shell).out)

    def test_explain(self):
        self.write("bothways.kdl", UNTIDY)
        told = self.bothways_command("explain", "http://shop.test/old/a?b").out
        self.assertIn("308", told)
        self.assertIn("bothways.kdl:5", told)
        told = self.bothways_command("explain", "x.ads.test:443", "--forward", "127.0.0.1:3128", "--from", "10.1.1.1").out
        self.assertIn("denied", told)
        self.assertIn("bothways.kdl:8", told)
        told = self.bothways_command("explain", "http://shop.test/api/x", "--json").out
        json.loads(told)

    def test_show(self):
        self.write("bothways.kdl", UNTIDY)
        told = self.bothways_command("show").out
        self.assertIn("127.0.0.1:9001", told)
        self.assertIn("default", told)

    def test_the_example(self):
        # The file that is installed names directories of the package: `packaging/test-deb` checks that one.
        self.bothways_command("check", ROOT / "packaging" / "example.kdl")
        self.bothways_command("fmt", "--check", ROOT / "packaging" / "bothways.kdl", ROOT / "packaging" / "example.kdl")

    def test_reverse_in_one_line(self):
        at = f"127.0.0.1:{free_port()}"
        proxy = self.start("bothways", [binary(), "reverse", "--listen", at, "--to", nginx().at, "--log", "json"])
        proxy.wait_for_port(int(at.rpartition(":")[2]))
        self.assertEqual(request(at, target="/hello")[2], b"hello\n")
        wait_until(lambda: any(r["status"] == 200 for r in json_lines(proxy.out)), "it is logged")
        proxy.send(signal.SIGINT)
        self.assertEqual(proxy.ended(), 0)

    def test_forward_in_one_line(self):
        at = f"127.0.0.1:{free_port()}"
        rules = ["--allow", f"to=127.0.0.1 port={nginx().port}", "--deny", "*.denied.test"]
        proxy = self.start("bothways", [binary(), "forward", "--listen", at, *rules])
        proxy.wait_for_port(int(at.rpartition(":")[2]))
        self.assertEqual(self.curl("-x", at, f"http://{nginx().at}/hello").out, "hello\n")
        self.assertIn("403", self.curl("-x", at, "-i", "http://a.denied.test/").out)
        told = self.bothways_command("forward", "--listen", at, *rules, "--print-config").out
        self.bothways_command("check", self.write("grown.kdl", told))

    def test_demo(self):
        demo = self.start("demo", [binary(), "demo"])
        lines = wait_until(
            lambda: [line for line in demo.out.read_text().splitlines() if re.match(r"\s*\$? ?curl ", line)],
            "it prints what to try", program=demo,
        )
        tries = [re.sub(r"^\s*\$? ?", "", line) for line in lines]
        self.assertGreaterEqual(len(tries), 2)
        for line in tries:
            done = self.run_command("bash", "-c", line, code=None)
            if "blocked" in line:
                self.assertEqual(done.code, 56, "curl gets no tunnel")
                self.assertIn("403", done.err)
            else:
                self.assertEqual(done.code, 0, done)
                self.assertTrue(done.out.strip(), done)
        demo.send(signal.SIGINT)
        self.assertEqual(demo.ended(20), 0)
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", demo.out.read_text())}
        self.assertFalse([port for port in ports if accepts(port)], "nothing listens any more")

    def test_output_into_a_pipe_that_closes(self):
        self.write("bothways.kdl", UNTIDY)
        done = self.run_command("bash", "-c", f"'{binary()}' show | head -1; echo ${{PIPESTATUS[0]}}")
        self.assertNotIn("panic", done.err)
        self.assertEqual(os.linesep.join(done.err.splitlines()), "")
