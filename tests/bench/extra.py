"""Measurements beside the main table: chained joins, start-up, hashing."""

import dataclasses
import pathlib
import shutil
import tempfile

import measure
import workload

LEVELS = [250, 500, 1000]
BIG_GIB = 4


def measure_extra(tools, options, rows, say):
    """Runs what `--extra` names and adds rows."""
    wanted = {"joins", "version", "hash"} if options.extra == "all" else set(options.extra.split(","))
    for tool in tools:
        if "version" in wanted:
            rows.append(row(tool, "version", start_up(tool, options)))
        if "joins" in wanted and tool.name in {"kun", "make", "ninja"}:
            for levels in LEVELS:
                cold, again = joins(tool, levels, options)
                rows.append(row(tool, "joins cold", cold, levels))
                rows.append(row(tool, "joins no-op", again, levels))
    if "hash" in wanted:
        hashing([it for it in tools if it.name == "kun"], options, rows, say)
    for it in rows:
        if "levels" in it:
            say(f"{it['tool']} {it['scenario']} {it['levels']}: {it['cpu_s']:.3f} s CPU, {it['wall_s']:.3f} s")


def row(tool, scenario, cost, levels=0):
    return {"tool": tool.name, "n": 0, "scenario": scenario, "levels": levels, "steps": 0, "ideal": 0,
            **dataclasses.asdict(cost)}


def start_up(tool, options):
    """`--version`, the best of ten."""
    folder = pathlib.Path(options.folder)
    command = [tool.program, "--version"]
    return min((measure.run(command, folder, 60) for _ in range(10)), key=lambda it: it.wall_s)


def joins(tool, levels, options):
    """Joins on joins: linear, if a key is made once for each step and not for each path."""
    import run  # run.py imports this file too

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = run.Bench(tool, workload.joins(levels), pathlib.Path(folder).resolve(), options.limit)
        bench.set_up()
        cold = measure.run(tool.command(), bench.folder, options.limit, bench.env)
        return cold, measure.run(tool.command(), bench.folder, options.limit, bench.env)


def hashing(kun, options, rows, say):
    """One big file in the page cache: b3sum against the first plan that must hash it."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = pathlib.Path(name).resolve()
        if shutil.disk_usage(folder).free < (BIG_GIB + 2) << 30:
            say("skipped: no room for the file to hash")
            return
        big = folder / "big"
        block = bytes(range(256)) * 4096
        # Just written, so its pages are in the cache.
        with open(big, "wb") as file:
            for i in range(BIG_GIB << 10):
                file.write(i.to_bytes(8, "little") + block[8:])
        b3sum = shutil.which("b3sum")
        if b3sum is None:
            say("skipped: there is no `b3sum` here")
        else:
            for_b3sum = min((measure.run([b3sum, str(big)], folder) for _ in range(2)), key=lambda it: it.wall_s)
            rows.append({"tool": "b3sum", "n": 0, "scenario": f"hash {BIG_GIB} GiB", "levels": 0, "steps": 0,
                         "ideal": 0, **dataclasses.asdict(for_b3sum)})
        for tool in kun:
            (folder / "workflow.toml").write_text(
                '[workflow]\nname = "hash"\nformat = 1\n[steps.size]\n'
                'run = ["true"]\nin = { a = "big" }\nout = { o = "file" }\n')
            command = [tool.program, "plan", "workflow.toml"]
            rows.append(row(tool, f"hash {BIG_GIB} GiB", measure.run(command, folder)))


def table(rows):
    """Markdown lines for these rows."""
    mine = [it for it in rows if "levels" in it]
    if not mine:
        return []
    out = ["", "### Beside", "", "| what | tool | CPU s | wall s | peak MiB |", "|---|---|---|---|---|"]
    for it in mine:
        what = f"{it['scenario']}, {it['levels']} levels" if it["levels"] else it["scenario"]
        out.append(f"| {what} | {it['tool']} | {it['cpu_s']:.3f} | {it['wall_s']:.3f} | {it['peak_mib']:.0f} |")
    return out
