#!/usr/bin/env python3
"""Runs the end-to-end stories: `run.py [--full] [--strict] [--again] [WORD…]`; see README.md beside this file.

With words, only the stories whose name contains one of them.
"""

import argparse
import faulthandler
import os
import sys
import time
import traceback
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness.bothways import binary  # noqa: E402  (the path above comes first)
from harness.story import NOT_INSTALLED, end_all  # noqa: E402

# A story that takes longer than this hangs, and the places where are shown. The longest one with `--full` takes 250 s
# when all is well, and ends by itself within 500 s when it is not.
HANGS_AFTER = 600
# More failures than this are no matter of chance.
AGAIN_MAX = 5


class Result(unittest.TestResult):
    """A line for each story, with its time; what failed is shown at the end, with the logs."""

    def __init__(self):
        super().__init__()
        self.passed, self.told = [], []

    def startTest(self, test):
        super().startTest(test)
        self.began, self.bad = time.monotonic(), False
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()

    def say(self, word, test, why=""):
        took = time.monotonic() - self.began
        print(f"{word:7} {name(test)} ({took:.1f} s){why}", flush=True)

    def addSuccess(self, test):
        self.passed.append(test)
        self.say("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say("SKIPPED", test, f": {reason}")

    def fail(self, test, error):
        if self.bad:
            return  # A second error of the same story, of its end.
        self.bad = True
        self.say("FAILED", test)
        logs = test.logs() if hasattr(test, "logs") else ""
        text = self._exc_info_to_string(error, test)
        self.told.append(f"--- {name(test)}\n{text}{logs}")
        print(self.told[-1], flush=True)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.fail(test, error)

    def addError(self, test, error):
        super().addError(test, error)
        self.fail(test, error)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.say("FAILED", test, f" {subtest._subDescription()}")
            text = self._exc_info_to_string(error, test)
            self.told.append(f"--- {name(test)} {subtest._subDescription()}\n{text}{test.logs()}")
            print(self.told[-1], flush=True)


def name(test):
    return test.id().removeprefix("test_")


def stories(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from stories(test)
        else:
            yield test


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only stories whose name contains one of these")
    parser.add_argument("--full", action="store_true", help="the long variants: 10 GiB instead of 1, minutes instead of seconds")
    parser.add_argument("--strict", action="store_true", help="count a story whose program is not installed as a failure")
    parser.add_argument("--again", action="store_true",
                        help="run stories that fail once more, by themselves: one that passes then is FLAKY, and no failure")
    parser.add_argument("--list", action="store_true", help="list the stories")
    options = parser.parse_args()
    if options.full:
        os.environ["E2E_FULL"] = "1"

    suite = unittest.defaultTestLoader.discover(str(HERE), top_level_dir=str(HERE))
    chosen = [
        test
        for test in stories(suite)
        if not options.words or any(word in name(test) for word in options.words)
    ]
    if options.list:
        print("\n".join(name(test) for test in chosen))
        return 0
    print(f"{len(chosen)} stories with {binary()}", flush=True)
    began, result, flaky = time.monotonic(), Result(), set()
    try:
        unittest.TestSuite(chosen).run(result)
        if options.again:
            flaky = run_again(result)
    finally:
        end_all_or_say()
    return summary(result, flaky, len(chosen), time.monotonic() - began, options.strict)


def failed_stories(result):
    """The names of the stories that have failed, without their subtests."""
    return {name(test).partition(" ")[0] for test, _ in result.failures + result.errors}


def run_again(result):
    """Runs the few stories that have failed once more; returns the names of those that pass now."""
    failed = failed_stories(result)
    if not 0 < len(failed) <= AGAIN_MAX:
        return set()
    print(f"\nonce more: {', '.join(sorted(failed))}", flush=True)
    # Found again: a story object is for one run.
    suite = unittest.TestLoader().discover(str(HERE), top_level_dir=str(HERE))
    again = [test for test in stories(suite) if name(test) in failed]
    second = Result()
    unittest.TestSuite(again).run(second)
    return {name(test) for test in second.passed} - failed_stories(second)


def end_all_or_say():
    """Ends what the stories share. That it does not end is for the next who looks, and no story's failure."""
    try:
        end_all()
    except Exception:
        traceback.print_exc()


def summary(result, flaky, chosen, took, strict):
    failed = failed_stories(result) - flaky
    passed = {name(test) for test in result.passed} - failed | flaky
    print()
    for test, reason in result.skipped:
        print(f"SKIPPED {name(test)}: {reason}")
    for test in sorted(flaky):
        print(f"FLAKY   {test}")
    for test in sorted(failed):
        print(f"FAILED  {test}")
    skipped = f", {len(result.skipped)} SKIPPED" if result.skipped else ""
    print(f"\nend-to-end, {took:.0f} s{skipped}:\n{len(passed)} passed, {len(failed)} failed")
    # What this machine does not let one do is no failure; what was not installed is.
    incomplete = strict and any(NOT_INSTALLED in reason for _, reason in result.skipped)
    return 1 if failed or chosen == 0 or incomplete else 0


if __name__ == "__main__":
    sys.exit(main())
