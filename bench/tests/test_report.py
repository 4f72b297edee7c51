"""The table, the JSON file and the plot say the same."""

import io
import json
import ssl
import tempfile
import unittest
import xml.etree.ElementTree as xml
from contextlib import redirect_stderr
from pathlib import Path

from harness import main, plot, report
from harness.peers import CERTIFICATE_FILES, CONF, PROXIES, fill, make_certificate
from harness.tools import find
from harness.workloads import WORKLOADS, Round

SMALL = next(row for row in WORKLOADS if row.name == "small-64")
IDLE = next(row for row in WORKLOADS if row.kind == "idle")


def results():
    found = report.Results({"rounds": 3}, {"nginx": "nginx version: 1.2"})
    for value in (10.0, 20.0, 10.0):
        found.add("small-64", "nginx", Round(value, value * 0.25, value * 0.75, 60000.0, 2.0, 0.99))
        found.add("small-64", "bothways", Round(value * 0.8, value * 0.2, value * 0.6, 80000.0, 1.5, 0.98))
    found.fail("small-64", "relay", "does not answer")
    found.rounds["small-64"]["nginx"][1].errors["read"] = 3
    found.add("idle-memory", "bothways", Round(1200.0, total_bytes=20 << 20))
    return found


class TableTest(unittest.TestCase):
    def test_every_proxy_has_a_line_with_its_ratio(self):
        text = report.table(results(), SMALL)
        lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
        self.assertIn("0.80", lines["bothways"])
        self.assertIn("80,000", lines["bothways"])
        self.assertIn("10.00", lines["nginx"])

    def test_errors_failures_and_goals_are_said(self):
        text = report.table(results(), SMALL)
        self.assertIn("! nginx: 3 read", text)
        self.assertIn("! relay: does not answer", text)
        self.assertIn("goal ≤ 0.85 × nginx: 0.80, reached", text)
        self.assertIn("goal ≤ 1536: 1200, reached", report.table(results(), IDLE))

    def test_columns_are_aligned(self):
        self.assertEqual(report.aligned([["", "a"], ["name", "10"]]), ["         a", "  name  10"])


class FilesTest(unittest.TestCase):
    def setUp(self):
        self.document = report.as_json(results(), WORKLOADS)

    def test_json_keeps_each_round(self):
        text = json.loads(json.dumps(self.document))
        entry = next(entry for entry in text["results"] if entry["proxy"] == "bothways")
        self.assertEqual(entry["value"], 8.0)
        self.assertEqual(entry["ratio"]["nginx"], 0.8)
        self.assertEqual(len(entry["rounds"]), 3)

    def test_plot_is_xml_with_a_bar_for_each_value(self):
        root = xml.fromstring(plot.svg(self.document, WORKLOADS))
        texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("8.0 µs", texts)
        self.assertIn("1.17 KiB", texts)
        self.assertNotIn("relay", texts)


class CommandLineTest(unittest.TestCase):
    def test_tables_are_chosen_by_name_and_in_order(self):
        given = main.arguments(["--only", "idle-memory,small-1", "--proxies", "nginx,relay", "--logs"])
        self.assertEqual([row.name for row in given.workloads], ["small-1", "idle-memory"])
        self.assertEqual([row.name for row in given.rows], ["relay", "nginx", "bothways-logs"])

    def test_unknown_names_are_refused(self):
        with redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
            main.arguments(["--only", "smal"])
        self.assertIn("`smal` is not known", said.getvalue())

    def test_a_group_is_chosen_by_its_first_word(self):
        given = main.arguments(["--only", "tls,h2"])
        names = [row.name for row in given.workloads]
        self.assertEqual(names, ["tls-small", "tls-handshakes", "tls-1m", "h2-small", "tls-idle-memory"])
        self.assertEqual([row.name for row in main.arguments(["--only", "tls-idle"]).workloads], ["tls-idle-memory"])

    def test_a_workload_goes_to_those_who_can(self):
        for workload in WORKLOADS:
            taken = {row.name for row in PROXIES if workload.takes(row)}
            self.assertLessEqual({"bothways", *workload.goals}, taken, workload.name)
            self.assertEqual("relay" in taken, not workload.tls, workload.name)

    def test_quick_is_short_unless_told_otherwise(self):
        given = main.arguments(["--quick", "--seconds", "2.5"])
        self.assertEqual((given.rounds, given.seconds), (1, 2.5))

    def test_templates_have_no_unknown_places(self):
        values = dict.fromkeys(["PORT", "ORIGIN", "DIR", "NOFILE", "CONNECTIONS", "ACCESS", *CERTIFICATE_FILES], "1")
        names = {row.conf for row in PROXIES if row.conf} | {"bothways-forward.kdl"}
        for name in names:
            for tls in (False, True):
                text = fill((CONF / name).read_text(), values, tls)
                self.assertNotRegex(text, r"@[A-Z]", name)

    def test_lines_for_tls_and_in_clear(self):
        template = "a @PORT@\n@CLEAR  b\n@TLS    c @CERT@\n"
        values = {"PORT": 1, "CERT": "x"}
        self.assertEqual(fill(template, values), "a 1\n  b\n")
        self.assertEqual(fill(template, values, tls=True), "a 1\n  c x\n")


class CertificateTest(unittest.TestCase):
    @unittest.skipIf(find("openssl") is None, "openssl is not installed")
    def test_certificate_and_key_belong_together(self):
        with tempfile.TemporaryDirectory() as directory:
            make_certificate(Path(directory))
            context = ssl.create_default_context(cafile=f"{directory}/cert.pem")
            context.load_cert_chain(f"{directory}/pair.pem")
            self.assertEqual(len(context.get_ca_certs()), 1)


if __name__ == "__main__":
    unittest.main()
