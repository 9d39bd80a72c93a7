"""Checks the benchmark's workload without any of the tools: shapes, and that steps do what is said."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import tools
import workload


class WorkloadTest(unittest.TestCase):
    def test_there_are_as_many_steps_as_asked_for(self):
        for n in [100, 1000]:
            names = [it.name for it in workload.blocks(n).steps]
            self.assertEqual(len(names), n)
            self.assertEqual(len(set(names)), n)

    def test_steps_read_only_what_stands_before_them(self):
        for work in [workload.blocks(300), workload.joins(20)]:
            known = set()
            for it in work.steps:
                self.assertTrue(known.issuperset(it.steps), it)
                self.assertTrue(set(work.sources).issuperset(it.sources), it)
                known.add(it.name)
            self.assertIn(work.middle, known)

    def test_a_comment_changes_a_source_and_no_result(self):
        work = workload.blocks(100)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            workload.write_sources(folder, work)
            before = self.run_all(folder, work)
            path = folder / work.commented
            path.write_text(path.read_text() + "# a comment\n")
            self.assertEqual(self.run_all(folder, work), before)
            self.assertEqual(len((folder / "runs.log").read_text().splitlines()), 200)
            self.assertTrue(all(0 < len(it) < 4096 for it in before.values()))

    def run_all(self, folder, work):
        env = dict(os.environ, KUN_BENCH_LOG=str(folder / "runs.log"))
        for it in work.steps:
            subprocess.run(["sh", "-c", it.command()], cwd=folder, env=env, check=True)
        return {it.name: (folder / "out" / it.name).read_bytes() for it in work.steps}

    def test_the_manifest_names_every_step(self):
        work = workload.blocks(100)
        with tempfile.TemporaryDirectory() as name:
            tools.Kun(None, 1).write(pathlib.Path(name), work)
            text = (pathlib.Path(name) / "workflow.toml").read_text()
        self.assertEqual(text.count("[steps."), 100)
        self.assertIn('in = { a = ["${sources.s0}"] }', text)


if __name__ == "__main__":
    unittest.main()
