"""The scenarios' own figuring: sets of faults, shares, tables, configurations."""

import tempfile
import unittest
from pathlib import Path

from failures import latency, peers, report, scenarios, stage


def played(proxy="bothways", scenario="killed", errors=0):
    return {
        "scenario": scenario, "proxy": proxy, "errors": errors, "p50_ms": 20.4, "p99_ms": 30.6, "max_ms": 1040.0,
        "even_after_seconds": None, "posts": 1000, "posts_failed": 3, "posts_twice": 0,
    }


class ScenarioTest(unittest.TestCase):
    def test_each_alone_by_twos_and_with_a_reload(self):
        names = [one.name for one in scenarios.scenarios()]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(names), 1 + 5 + 10 + 6)
        for name in ("nothing", "killed", "stopped + slow", "reload", "closes + reload"):
            self.assertIn(name, names)

    def test_even(self):
        self.assertTrue(peers.is_even([0.21, 0.19, 0.2, 0.2, 0.2], 0.1))
        self.assertFalse(peers.is_even([0.25, 0.15, 0.2, 0.2, 0.2], 0.2))

    def test_every_proxy_has_its_configuration(self):
        for row in stage.PROXIES:
            text = (stage.CONF / row.conf).read_text()
            for mark in ("@PORT@", "@SERVERS@", "@BALANCE@", "@TRY@"):
                self.assertIn(mark, text, row.name)
            self.assertTrue(latency.ALGORITHMS[row.name])

    def test_the_algorithm_asked_for_is_the_one_configured(self):
        for row in stage.PROXIES:
            self.assertEqual(stage.Stage({}, row, 2, 1).balance, row.balance)
            for name, words in latency.ALGORITHMS[row.name].items():
                self.assertEqual(stage.Stage({}, row, 2, 1, words).balance, words, f"{row.name} {name}")

    def test_lines_for_watched_servers(self):
        text = "a\n@WATCHED  b\n@ALONE    c\n"
        self.assertEqual(stage.chosen(text, True), "a\n  b\n")
        self.assertEqual(stage.chosen(text, False), "a\n  c\n")


class ReportTest(unittest.TestCase):
    def test_new_figures_replace_those_of_the_same_name(self):
        found = report.replaced([played("nginx", errors=3), played(errors=5)], [played(errors=0)])
        self.assertEqual([(one["proxy"], one["errors"]) for one in found], [("bothways", 0), ("nginx", 3)])

    def test_a_table_goes_between_its_marks(self):
        mark = report.MARK.format(name="scenarios")
        with tempfile.TemporaryDirectory() as directory:
            page = Path(directory) / "page.md"
            page.write_text(f"before\n{mark}\nold\n{mark}\nafter\n")
            report.write_tables({"scenarios": [played(), played("nginx", errors=7)]}, page)
            text = page.read_text()
        self.assertIn("| killed | 0, 20 / 31 / 1,040 ms, never | **7**, 20 / 31 / 1,040 ms, never |", text)
        self.assertNotIn("old", text)
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))


if __name__ == "__main__":
    unittest.main()
