"""The arithmetic, and the reading of what the kernel says."""

import os
import time
import unittest

from harness import measure


class ArithmeticTest(unittest.TestCase):
    def test_median_leaves_out_what_is_missing(self):
        self.assertEqual(measure.median([3, None, 1, 2]), 2)
        self.assertIsNone(measure.median([None]))

    def test_ratio_pairs_the_rounds(self):
        # Round two was slow for both: the ratio does not see it.
        self.assertEqual(measure.ratio([8, 80, 8], [10, 100, 10]), 0.8)
        self.assertEqual(measure.ratio([8, None, 10], [10, 10, 10]), 0.9)
        self.assertIsNone(measure.ratio([8], []))
        self.assertIsNone(measure.ratio([None], [10]))

    def test_spread_is_the_middle_half(self):
        self.assertAlmostEqual(measure.spread([9, 10, 10, 10, 11]), 0.0)
        self.assertAlmostEqual(measure.spread([8, 9, 10, 11, 12]), 0.2)
        self.assertIsNone(measure.spread([10, 11]))

    def test_shares_of_user_and_system(self):
        used = measure.Cpu(3000, 40, 160) - measure.Cpu(1000, 10, 70)
        self.assertEqual(used.nanoseconds, 2000)
        self.assertEqual(used.user_share(), 0.25)
        self.assertEqual(measure.Cpu(10, 0, 0).user_share(), 0.0)


class KernelTest(unittest.TestCase):
    def test_a_name_may_contain_anything(self):
        fields = measure.stat_fields("7 (a) b ) S 1 7 7 0 -1 0 0 0 0 0 12 34 0")
        self.assertEqual(fields[0], "S")
        self.assertEqual((fields[11], fields[12]), ("12", "34"))

    def test_our_own_time_is_counted(self):
        before = measure.cpu([os.getpid()])
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        used = measure.cpu([os.getpid()]) - before
        self.assertGreaterEqual(used.nanoseconds, 50_000_000)
        self.assertLess(used.nanoseconds, 5_000_000_000)

    def test_we_are_in_our_own_tree(self):
        self.assertIn(os.getpid(), measure.tree(os.getppid()))
        self.assertEqual(measure.tree(os.getpid())[0], os.getpid())

    def test_our_memory_is_more_than_nothing(self):
        self.assertGreater(measure.pss_bytes([os.getpid()]), 1_000_000)


if __name__ == "__main__":
    unittest.main()
