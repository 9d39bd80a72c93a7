#!/usr/bin/env python3
"""Measures workflow runners on the same work; see README.md beside this file.

    python3 tests/bench/run.py --tools kun,make,ninja --n 100,1000 --out table.md

Python's standard library only. Tools that are not there are skipped aloud; `--install` fetches
those that come from the Python package index.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import extra
import measure
import tools
import workload

SCENARIOS = ["cold", "no-op", "leaf", "comment", "touch", "deleted"]
IDEAL = {"no-op": 0, "leaf": 1, "comment": 1, "touch": 0, "deleted": 0}


class Bench:
    """One tool, one size, one folder."""

    def __init__(self, tool, work, folder, limit_s):
        self.tool, self.work, self.folder, self.limit_s = tool, work, folder, limit_s
        self.log = folder / "runs.log"
        self.env = dict(os.environ, KUN_BENCH_LOG=str(self.log))

    def set_up(self):
        workload.write_sources(self.folder, self.work)
        self.tool.write(self.folder, self.work)

    def once(self, look_every_s=measure.COARSE_S):
        """One run: what it cost and how many steps it ran."""
        self.log.write_text("")
        cost = measure.run(self.tool.command(), self.folder, self.limit_s, self.env, look_every_s)
        return {**dataclasses.asdict(cost), "steps": len(self.log.read_text().splitlines())}

    def scenario(self, name):
        """Changes what the scenario changes, then runs."""
        if name == "cold":
            if len(self.work.steps) > self.tool.cold_limit:
                os.environ["KUN_BENCH_LOG"] = os.devnull
                self.tool.prefill(self.folder, self.work)
                self.once()  # whatever it must find out once
                return None
            return self.once()
        if name == "no-op":
            best = min((self.once() for _ in range(3)), key=lambda it: it["cpu_s"])
            return {**best, "peak_mib": self.once(measure.FINE_S)["peak_mib"]}
        if name == "leaf":
            append(self.folder / self.work.leaf, "0 changed\n", at_start=True)
        if name == "comment":
            append(self.folder / self.work.commented, "# a comment\n")
        if name == "touch":
            for path in self.work.sources:
                os.utime(self.folder / path)
        if name == "deleted":
            os.environ["KUN_BENCH_LOG"] = str(self.log)  # what a step is passed may be part of its key
            path = self.tool.path_of(self.folder, self.work.middle)
            if path is None or not path.exists():
                return None
            path.unlink()
        return self.once()


def append(path, line, at_start=False):
    text = path.read_text()
    path.write_text(line + text if at_start else text + line)


def measure_tool(tool, work, options, rows):
    with tempfile.TemporaryDirectory(dir=options.folder, prefix=f"{tool.name}-") as folder:
        bench = Bench(tool, work, pathlib.Path(folder).resolve(), options.limit)
        bench.set_up()
        for name in SCENARIOS:
            result = bench.scenario(name)
            row = {"tool": tool.name, "n": len(work.steps), "scenario": name}
            if result is None:
                say(f"{tool.name} {row['n']} {name}: not measured")
                continue
            rows.append({**row, **result, "ideal": IDEAL.get(name, len(work.steps))})
            say(f"{tool.name} {row['n']} {name}: {result['cpu_s']:.3f} s CPU, {result['wall_s']:.3f} s, "
                f"ran {result['steps']}, {result['peak_mib']:.0f} MiB, status {result['status']}")
            if result["status"] != 0:
                say((bench.folder / "bench.log").read_text()[-2000:])
                return


def table(rows, versions):
    """The Markdown that goes into the documentation."""
    out = ["Cells are CPU s / wall s; in brackets the steps that ran where that is not the ideal.", ""]
    out += [f"- {name}: {version}" for name, version in versions.items()]
    main = [it for it in rows if it["scenario"] in SCENARIOS]
    for n in sorted({it["n"] for it in main}):
        out += ["", f"### {n} steps", "",
                "| tool | " + " | ".join(SCENARIOS) + " | no-op CPU to ninja | no-op CPU to make | cold wall to ninja | MiB cold | MiB no-op |",
                "|---|" + "---|" * (len(SCENARIOS) + 5)]
        for tool in versions:
            cells = {it["scenario"]: it for it in main if it["n"] == n and it["tool"] == tool}
            if cells:
                out.append(line(tool, cells, [it for it in main if it["n"] == n]))
    return "\n".join(out + extra.table(rows)) + "\n"


def line(tool, cells, peers):
    def cell(name):
        it = cells.get(name)
        if it is None:
            return "–"
        if it["status"] == 124:
            return "too long"
        if it["status"] != 0:
            return "failed"
        ran = "" if it["steps"] == it["ideal"] else f" ({it['steps']})"
        return f"{it['cpu_s']:.3f} / {it['wall_s']:.3f}{ran}"

    def ratio(scenario, field, to):
        peer = [it for it in peers if it["tool"] == to and it["scenario"] == scenario]
        if not peer or scenario not in cells or peer[0][field] == 0:
            return "–"
        return f"{cells[scenario][field] / peer[0][field]:.2f}"

    def peak(scenario):
        return f"{cells[scenario]['peak_mib']:.0f}" if scenario in cells else "–"

    ratios = [ratio("no-op", "cpu_s", "ninja"), ratio("no-op", "cpu_s", "make"), ratio("cold", "wall_s", "ninja")]
    return "| " + " | ".join([tool, *map(cell, SCENARIOS), *ratios, peak("cold"), peak("no-op")]) + " |"


def install(folder):
    """A virtual environment with the tools from the package index."""
    venv = pathlib.Path(folder) / "tools"
    if not (venv / "bin").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", *tools.PACKAGES], check=True)
    return str(venv / "bin")


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description="Measures workflow runners on the same work.")
    parser.add_argument("--tools", default="kun,make,ninja", help="comma-separated; 'all' for every one")
    parser.add_argument("--n", default="100,1000", help="numbers of steps, multiples of 100")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--bin", help="a folder to look for the tools before PATH")
    parser.add_argument("--install", action="store_true", help="fetch ninja, doit, snakemake, dvc first")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the work is done")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that one run may take")
    parser.add_argument("--extra", default="", help="also: joins, version, hash, or all (comma-separated)")
    parser.add_argument("--out", help="where the table goes; beside it the same with the ending .json")
    return parser.parse_args()


def main():
    options = arguments()
    os.makedirs(options.folder, exist_ok=True)
    if options.install:
        options.bin = os.pathsep.join(filter(None, [options.bin, install(options.folder)]))
    names = list(tools.ALL) if options.tools == "all" else options.tools.split(",")
    rows, versions = [], {}
    present = []
    for name in names:
        tool = tools.ALL[name](options.bin, options.jobs)
        if tool.program is None:
            say(f"skipped: there is no `{name}` here")
            continue
        versions[name] = tool.version()
        present.append(tool)
    sizes = [int(it) for it in options.n.split(",") if it]
    for n in sizes:
        for tool in present:
            measure_tool(tool, workload.blocks(n), options, rows)
    extra.measure_extra(present, options, rows, say)
    text = table(rows, versions)
    if options.out:
        out = pathlib.Path(options.out)
        out.write_text(text)
        facts = {"versions": versions, "jobs": options.jobs, "rows": rows}
        out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    print(text)
    return 0 if all(it["status"] == 0 for it in rows) and rows else 1


if __name__ == "__main__":
    sys.exit(main())
