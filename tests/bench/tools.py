"""The tools: how each says the workload, how it is started, and what it is called.

Each is written as someone who knows the tool would write it: ninja with `restat` and a
write-if-changed, Snakemake with wildcard rules, DVC without git, analytics and update check.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess

from workload import PROGRAMS


class Tool:
    """What run.py needs of a tool. `bin` is a folder to look in before PATH."""

    name = ""
    cold_limit = 1 << 30  # more steps than this are not run cold

    def __init__(self, bin_folder, jobs):
        self.jobs = jobs
        # Tools run in another folder than this one.
        folders = [os.path.abspath(it) for it in (bin_folder or "").split(os.pathsep) if it]
        path = os.pathsep.join(filter(None, [*folders, os.environ.get("PATH")]))
        self.program = shutil.which(self.name, path=path)

    def version(self):
        done = subprocess.run([self.program, "--version"], capture_output=True, text=True)
        return (done.stdout or done.stderr).strip().splitlines()[0]

    def write(self, folder: pathlib.Path, workload):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def prefill(self, folder: pathlib.Path, workload):
        """Makes the state of a finished run without the tool; only where a cold run takes hours."""

    def path_of(self, folder: pathlib.Path, step):
        """Where the output of a step lies, to delete it."""
        return folder / "out" / step


class Make(Tool):
    name = "make"

    def write(self, folder, workload):
        lines = [".PHONY: all", "all: " + " ".join(f"out/{it}" for it in workload.last())]
        for it in workload.steps:
            lines.append(f"out/{it.name}: {' '.join(it.inputs())}")
            lines.append("\t@" + it.command("$$KUN_BENCH_LOG"))
        (folder / "Makefile").write_text("\n".join(lines) + "\n")

    def command(self):
        return [self.program, "-s", f"-j{self.jobs}"]


class Ninja(Tool):
    name = "ninja"

    def version(self):
        return "ninja " + super().version()

    def write(self, folder, workload):
        lines = []
        for name, program in PROGRAMS.items():
            lines += [f"rule {name}", "  restat = 1", '  command = echo $step >> "$$KUN_BENCH_LOG"; '
                      f"{program} $in > $out.new; "
                      "if cmp -s $out.new $out; then rm $out.new; else mv $out.new $out; fi"]
        for it in workload.steps:
            lines.append(f"build out/{it.name}: {it.program} {' '.join(it.inputs())}")
            lines.append(f"  step = {it.name}")
        (folder / "build.ninja").write_text("\n".join(lines) + "\n")

    def command(self):
        return [self.program, "--quiet", f"-j{self.jobs}"]


class Doit(Tool):
    name = "doit"

    def version(self):
        return "doit " + super().version()

    def write(self, folder, workload):
        tasks = [{"name": it.name, "actions": [it.command()], "file_dep": it.inputs(),
                  "targets": [f"out/{it.name}"]} for it in workload.steps]
        (folder / "tasks.json").write_text(json.dumps(tasks))
        (folder / "dodo.py").write_text(
            "import json\nDOIT_CONFIG = {'verbosity': 0}\n"
            "def task_bench():\n    yield from json.load(open('tasks.json'))\n")

    def command(self):
        return [self.program, "run", "-n", str(self.jobs), "-P", "thread", "-r", "zero"]


class Dvc(Tool):
    name = "dvc"
    cold_limit = 100

    def version(self):
        return "DVC " + super().version()

    def write(self, folder, workload):
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "check": True}
        subprocess.run([self.program, "init", "--no-scm", "-q"], **quiet)
        for option in ["core.analytics=false", "core.check_update=false"]:
            subprocess.run([self.program, "config", *option.split("=")], **quiet)
        stages = {it.name: {"cmd": it.command(), "deps": it.inputs(), "outs": [f"out/{it.name}"]}
                  for it in workload.steps}
        # JSON is YAML.
        (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}, indent=1))

    def command(self):
        return [self.program, "repro", "-q"]

    def prefill(self, folder, workload):
        def entry(path):
            data = (folder / path).read_bytes()
            md5 = hashlib.md5(data).hexdigest()
            cached = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
            if path.startswith("out/") and not cached.exists():
                cached.parent.mkdir(parents=True, exist_ok=True)
                cached.write_bytes(data)
            return {"path": path, "hash": "md5", "md5": md5, "size": len(data)}

        stages = {}
        for it in workload.steps:
            subprocess.run(["sh", "-c", it.command()], cwd=folder, check=True)
            stages[it.name] = {"cmd": it.command(), "deps": sorted(map(entry, it.inputs()), key=lambda it: it["path"]),
                               "outs": [entry(f"out/{it.name}")]}
        (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}, indent=1))


class Snakemake(Tool):
    name = "snakemake"

    def version(self):
        return "Snakemake " + super().version()

    def write(self, folder, workload):
        (folder / "inputs.json").write_text(json.dumps({it.name: it.inputs() for it in workload.steps}))
        rules = ["import json", "INPUTS = json.load(open('inputs.json'))",
                 f"rule all:\n    input: {[f'out/{it}' for it in workload.last()]}"]
        names = {"root": r"(.*root|j0)", "join": r"(.*join|j[1-9]\d*)", "copy": r"(.*_[cf]\d|[ab]\d+)"}
        for name, program in PROGRAMS.items():
            rules.append(
                f"rule {name}:\n    input: lambda it: INPUTS[it.step]\n    output: 'out/{{step}}'\n"
                f"    wildcard_constraints: step={names[name]!r}\n"
                f'    shell: """echo {{wildcards.step}} >> "$KUN_BENCH_LOG"; {program} {{input}} > {{output}}"""')
        (folder / "Snakefile").write_text("\n\n".join(rules) + "\n")

    def command(self):
        return [self.program, "--cores", str(self.jobs), "--quiet", "all"]


class Kun(Tool):
    name = "kun"

    def write(self, folder, workload):
        lines = ["[workflow]", 'name = "bench"', "format = 1", "", "[sources]"]
        names = {path: f"s{i}" for i, path in enumerate(workload.sources)}
        lines += [f'{name} = {{ path = "{path}" }}' for path, name in names.items()]
        for it in workload.steps:
            inputs = [f"${{sources.{names[path]}}}" for path in it.sources]
            inputs += [f"${{steps.{step}.o}}" for step in it.steps]
            script = f'echo {it.name} >> "$KUN_BENCH_LOG"; o=$1; shift; {PROGRAMS[it.program]} "$@" > "$o"'
            run = ["sh", "-c", script, "sh", "${out.o}", "${in.a}"]
            lines += ["", f"[steps.{it.name}]", f"run = {json.dumps(run)}",
                      f"in = {{ a = {json.dumps(inputs)} }}", 'out = { o = "file" }',
                      'env = { pass = ["KUN_BENCH_LOG", "PATH"] }']
        (folder / "workflow.toml").write_text("\n".join(lines) + "\n")

    def command(self):
        return [self.program, "run", "workflow.toml", "--jobs", str(self.jobs), "-q"]

    def path_of(self, folder, step):
        command = [self.program, "out", "-f", "workflow.toml", f"{step}.o"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        return folder / done.stdout.strip() if done.returncode == 0 else None


ALL = {it.name: it for it in [Kun, Make, Ninja, Doit, Snakemake, Dvc]}
# From the Python package index, for `run.py --install`.
PACKAGES = ["ninja", "doit", "snakemake", "dvc"]
