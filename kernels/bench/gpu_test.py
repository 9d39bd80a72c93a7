"""What gpu.py and table.py make of lines, where no device is needed to see it."""

import os
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import gpu
import table

NCU = '''==PROF== Connected to process 7
{"part": "one-forward"}
==PROF== Disconnected from process 7
"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value","Rule Name"
"0","7","matmul","GPU Speed Of Light Throughput","Duration","us","620.5",""
"0","7","matmul","GPU Speed Of Light Throughput","","","","SOLBottleneck"
"0","7","matmul","GPU Speed Of Light Throughput","DRAM Throughput","%","31.2",""
'''


class Lines(unittest.TestCase):
    def test_counters_are_read_from_what_ncu_prints(self):
        found = list(gpu.metrics(NCU))
        self.assertEqual([it["metric"] for it in found], ["Duration", "DRAM Throughput"])
        self.assertEqual(found[0], {"kernel": "matmul", "metric": "Duration", "unit": "us", "value": "620.5"})
        self.assertEqual(list(gpu.metrics("ncu is not permitted\n")), [])

    def test_figures_of_pytorch_are_kept_for_the_device_they_are_of(self):
        text = 'Some words.\n\n```jsonl\n{"torch": "2.11", "on": "H200"}\n{"name": "adamw", "seconds": 0.5}\n```\n'
        with TemporaryDirectory() as folder, mock.patch.object(gpu, "HERE", Path(folder)):
            (Path(folder) / "RESULTS.md").write_text(text)
            kept = gpu.kept_peers("H200")
            self.assertEqual(kept[1], {"name": "adamw", "seconds": 0.5, "by": "peers", "kept": True})
            self.assertEqual(gpu.kept_peers("A100"), [])
            self.assertEqual(gpu.kept_peers(None), [])

    def test_a_table_sets_ours_beside_theirs_and_says_what_failed(self):
        lines = [{"by": "ours", "device": "H200", "driver": "580"},
                 {"by": "ours", "name": "adamw", "seconds": 0.002, "bytes": 4e9},
                 {"by": "peers", "name": "adamw", "seconds": 0.003},
                 {"by": "peers", "name": "ceiling copy of 2 GiB", "seconds": 0.001},
                 {"by": "tests", "test": "a", "way": "tests", "ok": True, "status": 0},
                 {"by": "tests", "test": "b", "way": "tests", "ok": False, "status": 124},
                 {"by": "parts", "part": "label", "status": 0}]
        text = table.render(lines)
        self.assertIn("| adamw | 2.000 | 2000 GB/s | 47% | - | 3.000 | 1.50 |", text)
        self.assertIn("Tests: 1 of 2 passed, 0 had no time left.", text)
        bad = text[text.index("Not well:"):]
        self.assertIn('"test": "b"', bad)
        self.assertEqual(bad.count("\n- "), 1)

    def test_a_part_gets_its_share_of_what_is_left_and_none_where_nothing_is(self):
        with TemporaryDirectory() as folder:
            session = gpu.Session(folder, 100 + gpu.RESERVE)
            session.stdout = os.open(os.devnull, os.O_WRONLY)
            limits = []

            def run(_, part, limit):
                limits.append((part.name, round(limit)))
                session.end -= {"a": 50, "b": 48}.get(part.name, 0)
                return 0

            gpu.run_all(session, [gpu.Part(name, share, run=run) for name, share in (("a", 10), ("b", 20), ("c", 20))])
            self.assertEqual(limits, [("a", 20), ("b", 25)])
            self.assertEqual(session.lines[-1]["skipped"], "no time is left for it")
            self.assertTrue(session.failed)
            os.close(session.stdout)
            session.close()

    def test_a_part_that_hangs_and_one_that_dies_end_alone(self):
        with TemporaryDirectory() as folder:
            session = gpu.Session(folder, 60)
            session.stdout = os.open(os.devnull, os.O_WRONLY)
            said = []
            self.assertEqual(session.output_of(["sh", "-c", "echo before; sleep 60"], {}, 1, said.append), 124)
            self.assertEqual(session.output_of(["sh", "-c", "trap '' TERM; echo deaf; sleep 1 & wait; sleep 60"], {}, 1,
                                               said.append), -9)
            self.assertEqual(session.output_of(["sh", "-c", "echo last; kill -SEGV $$"], {}, 5, said.append), -11)
            self.assertEqual(said, ["before", "deaf", "last"])
            os.close(session.stdout)
            session.close()


if __name__ == "__main__":
    unittest.main()
