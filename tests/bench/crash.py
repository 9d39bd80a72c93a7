#!/usr/bin/env python3
"""What a workflow runner makes of a crash: the three tests that most of them fail.

    python3 tests/bench/crash.py --tools kun,make,ninja --bin target/release

Step a writes `part1`, waits, writes `part2`; step b copies a. Right is `part1 part2` in both.

A  everything is killed while a waits; run again.
B  only the runner is killed, a lives on; run again at once.
C  two runs, the second while the first is in a.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tools
import workload

WAIT_S = 3
RIGHT = "part1\npart2\n"


class Crash:
    """One tool in one folder."""

    def __init__(self, tool, folder):
        self.tool, self.folder = tool, folder
        self.log = folder / "runs.log"
        # For all that the tool is asked: what a step is passed may be part of its key.
        os.environ["KUN_BENCH_LOG"] = str(self.log)
        self.children = []

    def start(self):
        output = open(self.folder / "bench.log", "ab")
        child = subprocess.Popen(self.tool.command(), cwd=self.folder, stdout=output,
                                 stderr=output, stdin=subprocess.DEVNULL, start_new_session=True)
        self.children.append(child)
        return child

    def wait_for_a(self):
        """Until step a has written its first part."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.log.exists() and "a begins" in self.log.read_text():
                time.sleep(0.3)
                return
            time.sleep(0.02)
        raise TimeoutError("step a did not begin")

    def result(self, status):
        """Right, or what is wrong."""
        time.sleep(WAIT_S + 1)  # what lives on may still write
        ran = self.log.read_text().count("a ends")
        wrong = [f"{step} is {self.text(step)!r}" for step in "ab" if self.text(step) != RIGHT]
        if status != 0:
            return f"stops with status {status}"
        return f"WRONG, status 0: {'; '.join(wrong)}" if wrong else f"right; a ended {ran} times"

    def text(self, step):
        path = self.tool.path_of(self.folder, step)
        return path.read_text() if path and path.exists() else None

    def clean(self):
        for it in self.children:
            try:
                os.killpg(it.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def kill_tree(pid):
    """The process and all below it, however they are grouped."""
    below = [pid]
    for it in below:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(it)], capture_output=True, text=True)
        below += map(int, found.stdout.split())
    for it in below:
        try:
            os.kill(it, signal.SIGKILL)
        except ProcessLookupError:
            pass


def all_killed(it):
    first = it.start()
    it.wait_for_a()
    kill_tree(first.pid)
    first.wait()
    return it.result(it.start().wait())


def runner_killed(it):
    first = it.start()
    it.wait_for_a()
    first.kill()
    first.wait()
    return it.result(it.start().wait())


def two_at_once(it):
    first = it.start()
    it.wait_for_a()
    second = it.start()
    statuses = [first.wait(), second.wait()]
    return f"{it.result(0)}; statuses {statuses[0]} and {statuses[1]}"


@dataclasses.dataclass
class Slow(workload.Step):
    """Step a."""

    def command(self, variable="$KUN_BENCH_LOG"):
        return self.script(f"out/{self.name}", variable)

    @staticmethod
    def script(output, variable="$KUN_BENCH_LOG"):
        return (f'echo part1 > {output}; echo a begins >> "{variable}"; sleep {WAIT_S}; '
                f'echo part2 >> {output}; echo a ends >> "{variable}"')


def write(tool, folder):
    """The two steps, as the tool says them; only a's line differs from the benchmark's form."""
    work = workload.Workload([Slow("a", "copy", ["src/s.txt"], []), workload.Step("b", "copy", [], ["a"])],
                             ["src/s.txt"], "src/s.txt", "src/s.txt", "a", 2)
    workload.write_sources(folder, work)
    tool.write(folder, work)
    if tool.name == "ninja":
        slow = Slow.script("$out", "$$KUN_BENCH_LOG")
        replace(folder / "build.ninja", "build out/a: copy", f"rule slow\n  command = {slow}\nbuild out/a: slow")
    if tool.name == "snakemake":
        rule = f"rule a:\n    input: 'src/s.txt'\n    output: 'out/a'\n    shell: r'''{Slow.script('{output}')}'''\n\n"
        replace(folder / "Snakefile", "rule root:", rule + "rule root:")
        replace(folder / "Snakefile", "step='(.*_[cf]\\\\d|[ab]\\\\d+)'", "step='b'")
    if tool.name == "kun":
        line = next(it for it in (folder / "workflow.toml").read_text().splitlines() if "echo a >>" in it)
        script = Slow.script('"$1"').replace('"', '\\"')
        replace(folder / "workflow.toml", line, f'run = ["sh", "-c", "{script}", "sh", "${{out.o}}", "${{in.a}}"]')


def replace(path, old, new):
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


TESTS = {"A": all_killed, "B": runner_killed, "C": two_at_once}


def main():
    parser = argparse.ArgumentParser(description="What workflow runners make of a crash.")
    parser.add_argument("--tools", default="kun,make,ninja")
    parser.add_argument("--bin", help="a folder to look for the tools before PATH")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the work is done")
    parser.add_argument("--out", help="where the table goes")
    options = parser.parse_args()
    lines = ["| tool | A: all killed | B: only the runner killed | C: two at once |", "|---|---|---|---|"]
    for name in list(tools.ALL) if options.tools == "all" else options.tools.split(","):
        tool = tools.ALL[name](options.bin, 2)
        if tool.program is None:
            print(f"skipped: there is no `{name}` here", file=sys.stderr)
            continue
        lines.append(f"| {tool.version()} | {' | '.join(one(tool, it, options) for it in TESTS)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    if options.out:
        pathlib.Path(options.out).write_text(text)
    print(text)


def one(tool, test, options):
    folder = pathlib.Path(tempfile.mkdtemp(dir=options.folder, prefix=f"crash-{tool.name}-")).resolve()
    crash = Crash(tool, folder)
    try:
        write(tool, folder)
        return TESTS[test](crash)
    except TimeoutError as it:
        return f"not measured: {it}"
    finally:
        crash.clean()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
