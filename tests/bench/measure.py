"""Starts a program and says what it cost: time on the clock, on the processor, and memory."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
import time


@dataclasses.dataclass
class Cost:
    """What one command cost."""

    wall_s: float
    cpu_s: float  # user and system, of the program and all children that it waited for
    peak_mib: float  # of the program's own process
    status: int  # 124: it took too long


COARSE_S, FINE_S = 0.02, 0.0002


def run(command, folder: pathlib.Path, limit_s=3600, env=None, look_every_s=COARSE_S):
    """Runs to the end; output goes to `bench.log` in the folder.

    Memory is looked at every now and then: coarsely, so as not to disturb the clock, and finely
    for short commands whose times are not kept.
    """
    peak = [0.0]
    with open(folder / "bench.log", "ab") as log:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, env=env, start_new_session=True)
        over = threading.Event()
        watch = threading.Thread(target=watch_memory, args=(process.pid, peak, over, look_every_s))
        watch.start()
        late = threading.Timer(limit_s, kill_group, [process.pid])
        late.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        over.set()
        late.cancel()
        watch.join()
    timed_out = wall_s >= limit_s
    status = 124 if timed_out else process.returncode
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, peak[0], status)


def watch_memory(pid, peak, over, look_every_s):
    """The high-water mark of the process's own memory. Linux only; elsewhere nothing is seen."""
    while not over.is_set():
        try:
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
                for line in status:
                    if line.startswith("VmHWM"):
                        peak[0] = max(peak[0], int(line.split()[1]) / 1024)
        except OSError:
            pass
        over.wait(look_every_s)


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
