"""Kills the village at random moments, engine and workers together, until it has come to its end; then
compares every file of `out` with those of a run in peace.

    python3 tests/bench/village_kills.py KUN PEACE [KILLS [SEED]]

KUN is the binary, PEACE the folder of a village that ran to its end. Works in a temporary folder.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST_SECONDS = 40


def digests(out):
    return {str(it.relative_to(out)): hashlib.sha256(it.read_bytes()).hexdigest()
            for it in sorted(out.rglob("*")) if it.is_file()}


def below(root):
    """The processes that a process started, and those that they started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, open_ = [], [root]
    while open_:
        children = parents.get(open_.pop(), [])
        found += children
        open_ += children
    return found


def kill_all(process):
    for pid in [process.pid, *below(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def main(kun, peace, kills=20, seed=1):
    draw, killed, began = random.Random(int(seed)), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "village"
        shutil.copytree(peace, place, ignore=shutil.ignore_patterns(".kun", "out", "__pycache__"))
        while True:
            process = subprocess.Popen([kun, "run", "-q", "kun.toml"], cwd=place, stdout=subprocess.DEVNULL)
            wait = draw.uniform(0.2, MOST_SECONDS) if killed < int(kills) else None
            try:
                code = process.wait(wait)
            except subprocess.TimeoutExpired:
                kill_all(process)
                killed += 1
                continue
            break
        if code != 0:
            sys.exit(f"the run ended with {code} after {killed} kills")
        ours, theirs = digests(place / "out"), digests(Path(peace) / "out")
    differing = sorted(it for it in ours.keys() | theirs.keys() if ours.get(it) != theirs.get(it))
    print(f"{killed} kills in {time.monotonic() - began:.0f} s, {len(theirs)} files, {len(differing)} differ")
    if differing:
        sys.exit("\n".join(differing))


if __name__ == "__main__":
    main(*sys.argv[1:])
