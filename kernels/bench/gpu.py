"""Runs the checks or the measurements of a pack on a machine with a CUDA device: gpu.py check|speed [--out FOLDER]
[--budget SECONDS]; `gpu.sh` calls it, and says what the machine needs.

A device is lent for minutes, so nothing may cost more than its share and nothing may be lost:

* Every part is a process of its own with a limit: its share of what is left of the budget. A part that fails, hangs or
  takes the device's memory along ends alone, and what it did not use goes to those after it.
* A line is in the folder before it is printed, and the table is renewed after every part. So whenever this is killed,
  and however, what was printed is there. TERM, INT and HUP print the table once more.

In the folder, at the end: log.txt, all that was said; results.jsonl, all lines of JSON, each with who said it; table.md;
peers.jsonl, PyTorch's figures, which RESULTS.md keeps so that they are measured once; ncu.txt.
"""

import argparse
import concurrent.futures
import csv
import glob
import importlib.metadata
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import table

HERE = Path(__file__).resolve().parent
EMULATED = "KUN_EMULATOR" in os.environ
BUDGETS = {"check": 200, "speed": 420}
# Kept for the last table, and for what is killed to end.
RESERVE = 6
# A part that has less than this is not begun.
LEAST = 3
# What has to be right for anything else to be: these tests are run first.
FIRST = ("matrices", "products", "decoding", "attention", "rows", "elementwise")


class Stopped(Exception):
    """Somebody ended this from outside."""


@dataclass
class Part:
    name: str
    expected: float  # seconds, on an H200; shares of the budget are in proportion
    command: list = None
    by: str = "ours"  # who says its lines of JSON
    env: dict = field(default_factory=dict)
    run: object = None  # instead of a command: called with the session, the part and its limit


class Session:
    def __init__(self, folder, budget):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.end = time.monotonic() + budget
        self.lines = []
        self.failed = False
        self.lock = threading.Lock()
        self.running = set()
        self.stopping = False
        names = ("log.txt", "results.jsonl", "peers.jsonl", "ncu.txt")
        # Written at once, without a buffer: what is printed afterwards is there already.
        self.files = {name: open(self.folder / name, "wb", buffering=0) for name in names}
        self.stdout = sys.stdout.fileno()

    def close(self):
        for file in self.files.values():
            file.close()

    def left(self):
        return self.end - time.monotonic()

    def say(self, text):
        data = (text.rstrip("\n") + "\n").encode()
        with self.lock:
            self.files["log.txt"].write(data)
            self.print(data)

    def record(self, line):
        with self.lock:
            self.lines.append(line)
            data = (json.dumps(line) + "\n").encode()
            self.files["results.jsonl"].write(data)
            if line["by"] == "peers":
                self.files["peers.jsonl"].write(data)
            self.files["log.txt"].write(data)
            self.print(data)

    def print(self, data):
        try:
            while data:
                data = data[os.write(self.stdout, data):]
        except OSError:
            pass  # nobody listens any more; the folder has it

    def show_table(self):
        text = table.render(self.lines)
        whole = self.folder / "table.md.new"
        whole.write_text(text, encoding="utf-8")
        whole.rename(self.folder / "table.md")
        self.say(text)

    def start(self, command, env, seconds):
        # `timeout` ends it even where this process is killed; its session is its own, so that it can be ended whole.
        if self.stopping:
            raise Stopped("nothing is begun any more")
        whole = ["timeout", "-k", "5", f"{max(seconds, 1):.0f}", *command]
        process = subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=HERE,
                                   env={**os.environ, **env}, start_new_session=True)
        with self.lock:
            self.running.add(process)
        return process

    def ended(self, process):
        with self.lock:
            self.running.discard(process)

    def kill_all(self):
        self.stopping = True
        with self.lock:
            running = list(self.running)
        for process in running:
            kill(process)

    def output_of(self, command, env, seconds, take):
        """Runs a command and takes each of its lines when it comes; its status, 124 where its time was over."""
        process = self.start(command, env, seconds)
        deadline = time.monotonic() + seconds + 8
        rest = b""
        try:
            while True:
                ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
                if not ready:
                    kill(process)
                    break
                data = os.read(process.stdout.fileno(), 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    take(line.decode(errors="replace"))
            if rest:
                take(rest.decode(errors="replace"))
            return process.wait()
        finally:
            kill(process)
            process.stdout.close()
            self.ended(process)


def kill(process):
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def run_command(session, part, seconds):
    def take(line):
        if line.startswith("{"):
            try:
                return session.record({**json.loads(line), "by": part.by})
            except json.JSONDecodeError:
                pass  # a line that was cut when its program was killed
        session.say(line)

    return session.output_of(part.command, part.env, seconds, take)


def run_part(session, part, share):
    limit = min((session.left() - RESERVE) * share, session.left() - RESERVE)
    if limit < LEAST:
        session.failed = True
        return session.record({"by": "parts", "part": part.name, "skipped": "no time is left for it"})
    session.say(f"\n== {part.name}, {limit:.0f} s at most")
    start = time.monotonic()
    status = (part.run or run_command)(session, part, limit)
    session.failed |= status != 0
    took = time.monotonic() - start
    line = {"by": "parts", "part": part.name, "status": status, "took_seconds": round(took, 1)}
    session.record({**line, "limit_seconds": round(limit)})
    session.show_table()


def run_all(session, parts):
    for n, part in enumerate(parts):
        run_part(session, part, part.expected / sum(it.expected for it in parts[n:]))


def facts(session, part, seconds):
    """What the machine is. Everything here may be missing."""
    commands = [["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit,mig.mode.current",
                 "--format=csv,noheader"],
                ["uname", "-srm"], ["nproc"], ["free", "-g"], ["df", "-h", "."]]
    end = time.monotonic() + seconds
    for command in commands:
        if shutil.which(command[0]):
            session.output_of(command, {}, min(5, max(1, end - time.monotonic())), session.say)
    versions = {}
    for name in ("torch", "transformers", "peft", "nvidia-cuda-nvrtc"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    images = len(os.listdir(os.environ["KUN_CUDA_CACHE"])) if os.path.isdir(os.environ["KUN_CUDA_CACHE"]) else 0
    session.record({"by": "facts", "python": sys.version.split()[0], "versions": versions, "ncu": ncu(),
                    "nvrtc": os.environ.get("KUN_CUDA_LIBRARIES"), "images_in_the_cache": images,
                    "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())})
    return 0


def tests(session, part, seconds):
    """Each test in a process of its own, several at once."""
    end = time.monotonic() + seconds
    names = []

    def take(line):
        if line.endswith(": test"):
            names.append(line[:-len(": test")])

    skip = [word for it in ("failures", "mutations", "rehearsal") for word in ("--skip", it)]
    only = os.environ.get("KUN_CHECK_ONLY", "").split()
    status = session.output_of(["./checks", "--list", *only, *skip], part.env, 20, take)
    if status != 0 or not names:
        session.say(f"no tests can be listed: status {status}")
        return status or 1
    names.sort(key=lambda name: next((n for n, word in enumerate(FIRST) if name.startswith(word)), len(FIRST)))

    def one(name):
        left = end - time.monotonic()
        line = {"by": "tests", "test": name, "way": part.name}
        if left < 1:
            session.record({**line, "skipped": "no time is left for it"})
            return False
        start, said = time.monotonic(), []
        status = session.output_of(["./checks", "--exact", name, "--test-threads", "1", "--nocapture"], part.env,
                                   min(60, left), said.append)
        took = round(time.monotonic() - start, 2)
        ok = status == 0 and any(it.startswith("test result: ok. 1 passed") for it in said)
        if not ok:
            session.say("\n".join(it for it in said[-40:]))
        session.record({**line, "ok": ok, "status": status, "took_seconds": took,
                        "skipped_itself": any(it.startswith("skipped:") for it in said)})
        return ok

    at_once = int(os.environ.get("KUN_CHECK_AT_ONCE", min(8, os.cpu_count() or 1)))
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(one, name) for name in names]
        try:
            return 0 if all([it.result() for it in waiting]) else 1
        except BaseException:
            for it in waiting:
                it.cancel()
            session.kill_all()
            raise


def ncu():
    places = [shutil.which("ncu"), *glob.glob("/usr/local/cuda*/bin/ncu"), *glob.glob("/opt/nvidia/nsight-compute/*/ncu")]
    return next((it for it in places if it), None)


def metrics(text):
    """The rows of ncu's table, which comes after lines that are none."""
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        return
    for row in csv.DictReader(lines[first:]):
        if row.get("Metric Name"):
            yield {"kernel": row["Kernel Name"], "metric": row["Metric Name"], "unit": row["Metric Unit"],
                   "value": row["Metric Value"]}


def profile(kernel, measured):
    def run(session, part, seconds):
        program = ncu()
        if not program:
            session.record({"by": "ncu", "part": measured, "skipped": "ncu is not on this machine"})
            return 0
        said = []
        sections = [word for it in ("SpeedOfLight", "MemoryWorkloadAnalysis", "WarpStateStats") for word in ("--section", it)]
        command = [program, "--clock-control", "none", *sections, "--csv", "--page", "details", "-k", f"regex:^{kernel}$",
                   "-c", "1", "./measure", measured]
        status = session.output_of(command, {"KUN_BENCH": "once"}, seconds, said.append)
        text = f"== {measured}\n" + "\n".join(said) + "\n"
        session.files["ncu.txt"].write(text.encode())
        found = list(metrics(text))
        for line in found:
            session.record({"by": "ncu", "part": measured, **line})
        if not found:
            session.say("\n".join(said[-20:]))
        return status or (0 if found else 1)

    return Part(f"ncu {measured}", 6, run=run)


def kept_peers(name):
    """PyTorch's figures for such a device, from RESULTS.md: they do not change, and cost minutes."""
    lines, on = [], False
    for line in (HERE / "RESULTS.md").read_text(encoding="utf-8").splitlines():
        if line == "```jsonl":
            on = True
        elif line == "```":
            on = False
        elif on and line:
            lines.append({**json.loads(line), "by": "peers", "kept": True})
    names = {it["on"] for it in lines if "torch" in it}
    return lines if names == {name} else []


def measure(name, expected, env=None):
    return Part(name, expected, ["./measure", name], env=env or {})


def peers(expected, *names):
    return Part("peers " + " ".join(names), expected, [sys.executable, "peers.py", *names], by="peers")


def check_parts():
    bounded = {"KUN_BOUNDED_WAITS": "1"}
    return [Part("facts", 3, run=facts),
            measure("probe", 12, bounded),
            Part("tests", 60, run=tests, env=bounded),
            Part("tests of portable kernels", 45, run=tests, env={**bounded, "KUN_PORTABLE": "1"}),
            measure("products", 15), measure("attention", 10)]


def device_name(session):
    names = []
    if shutil.which("nvidia-smi"):
        session.output_of(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], {}, 10, names.append)
    return names[0] if names else None


def speed_parts(session):
    name = device_name(session)
    kept = kept_peers(name)
    for line in kept:
        session.record(line)
    has_torch = importlib.util.find_spec("torch") is not None
    if not kept and not has_torch:
        session.record({"by": "parts", "part": "peers", "skipped": "PyTorch is not on this machine"})
    compare = has_torch and not kept
    first = [peers(25, "ceilings", "products", "attention")] if compare else []
    second = [peers(25, "training"), peers(30, "generation")] if compare else []
    third = [peers(10, "rows", "optimizer", "decoding")] if compare else []
    return [Part("facts", 3, run=facts),
            measure("products", 15), measure("attention", 8),
            *first,
            measure("train-8bit", 30), measure("train-f32", 30),
            measure("generate-1", 8), measure("generate-64", 10), measure("generate-256", 14),
            measure("optimizer", 4), measure("decoding", 6), measure("rows", 5), measure("loss", 4),
            profile("matmul", "one-forward"), profile("matmul", "one-gated"), profile("matmul", "one-weight-gradient"),
            profile("forward", "one-attention"), profile("backward_keys", "one-attention-backward"),
            profile("product", "one-decode"),
            *second,
            measure("train-lora", 20), measure("label", 15),
            *third,
            measure("first-token", 40), measure("save", 25)]


def prepare():
    """NVRTC that comes with PyTorch, where the loader knows none; the cache of the pack."""
    if "KUN_CUDA_LIBRARIES" not in os.environ:
        for folder in sys.path:
            for library in glob.glob(os.path.join(folder, "nvidia", "*", "lib", "libnvrtc.so*")):
                os.environ.setdefault("KUN_CUDA_LIBRARIES", os.path.dirname(library))
    os.environ.setdefault("KUN_FIXTURES", str(HERE / "fixtures"))
    os.environ.setdefault("KUN_CUDA_CACHE", str(HERE / "cache"))
    if not EMULATED:
        os.environ["KUN_REQUIRE_GPU"] = "1"


def warm_torch(session):
    """Reads PyTorch's files from the disk while something else is measured: gigabytes, the first time."""
    if importlib.util.find_spec("torch") and not EMULATED:
        process = session.start([sys.executable, "-c", "import torch, transformers"], {}, 120)
        threading.Thread(target=process.communicate, daemon=True).start()


def stop(number, _):
    raise Stopped(signal.Signals(number).name)


def main():
    parser = argparse.ArgumentParser(description="Runs the checks or the measurements of a pack.")
    parser.add_argument("mode", choices=sorted(BUDGETS))
    parser.add_argument("--out", default=os.environ.get("OUT") or HERE / "results")
    parser.add_argument("--budget", type=float, help="seconds for all of it")
    given = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    prepare()
    session = Session(given.out, given.budget or BUDGETS[given.mode])
    try:
        if given.mode == "speed":
            warm_torch(session)
            parts = speed_parts(session)
        else:
            parts = check_parts()
        run_all(session, parts)
    except Stopped as why:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        session.failed = True
        session.kill_all()
        session.record({"by": "parts", "part": given.mode, "stopped": str(why)})
        session.show_table()
    finally:
        session.kill_all()
    sys.exit(1 if session.failed else 0)


if __name__ == "__main__":
    main()
