"""The table, the JSON file and the plot say the same."""

import io
import json
import unittest
import xml.etree.ElementTree as xml
from contextlib import redirect_stderr

from harness import main, plot, report
from harness.peers import CONF, PROXIES, fill
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
            main.arguments(["--only", "small"])
        self.assertIn("`small` is not known", said.getvalue())

    def test_quick_is_short_unless_told_otherwise(self):
        given = main.arguments(["--quick", "--seconds", "2.5"])
        self.assertEqual((given.rounds, given.seconds), (1, 2.5))

    def test_templates_have_no_unknown_places(self):
        values = dict.fromkeys(["PORT", "ORIGIN", "DIR", "NOFILE", "CONNECTIONS", "ACCESS"], "1")
        names = {row.conf for row in PROXIES if row.conf} | {"bothways-forward.kdl"}
        for name in names:
            text = fill((CONF / name).read_text(), values)
            self.assertNotRegex(text, r"@[A-Z]+@", name)


if __name__ == "__main__":
    unittest.main()
