"""What the load generators say is read rightly, or refused."""

import unittest

from harness import load


class ParseTest(unittest.TestCase):
    LINE = ("BENCH requests=1000 microseconds=2000000 bytes=291000 p50=900 p99=1500"
            " connect=0 read=2 write=0 status=1 timeout=0\n")

    def test_wrk_line_among_other_output(self):
        told = load.parse_wrk("Running 2s test\n  1 threads\n" + self.LINE)
        self.assertEqual((told.requests, told.bytes, told.seconds), (1000, 291000, 2.0))
        self.assertEqual(told.p99_ms, 1.5)
        self.assertEqual(told.errors, {"read": 2, "status": 1})

    def test_wrk_without_its_line(self):
        with self.assertRaises(load.LoadError):
            load.parse_wrk("unable to connect to 127.0.0.1:80 Connection refused\n")

    def test_h2load_summary(self):
        told = load.parse_h2load(
            "finished in 1.00s, 93618.00 req/s, 22.59MB/s\n"
            "requests: 93618 total, 93682 started, 93618 done, 93610 succeeded, 8 failed, 0 errored, 0 timeout\n"
            "status codes: 93610 2xx, 0 3xx, 0 4xx, 8 5xx\n"
            "traffic: 22.59MB (23685354) total, 8.04MB (8431380) headers (space savings 0.00%)\n"
        )
        self.assertEqual((told.requests, told.bytes, told.errors), (93610, 23685354, {"failed": 8}))
        with self.assertRaises(load.LoadError):
            load.parse_h2load("starting benchmark...")

    def test_end_of_bench_load(self):
        told = load.parse_end("end 1048576 16 2000000000 1250\n")
        self.assertEqual((told.bytes, told.requests, told.seconds), (1048576, 16, 2.0))
        self.assertEqual(told.p99_ms, 1.25)

    def test_the_arguments_of_h2load(self):
        self.assertEqual(load.h2load_arguments(80, "/a", None), ["--h1", "http://127.0.0.1:80/a"])
        with_streams = load.h2load_arguments(80, "/a", 32)
        self.assertEqual((with_streams[0], with_streams[-1]), ("-m32", "https://127.0.0.1:80/a"))
        self.assertIn(f"--tls13-ciphers={load.SUITE}", with_streams)

    def test_no_response_means_no_latency(self):
        self.assertIsNone(load.parse_end("end 0 0 2000000000 0").p99_ms)

    def test_anything_else_is_refused(self):
        for line in ("", "start", "end 1 2"):
            with self.subTest(line=line), self.assertRaises(load.LoadError):
                load.parse_end(line)


if __name__ == "__main__":
    unittest.main()
