"""What a run with nothing to do costs: best and median of nine, for one or more binaries in turn.

    python3 tests/bench/noop.py PROJECT BINARY [BINARY ...]

The project must have been run to its end in this environment before.
"""

import os
import subprocess
import sys
import time


def once(binary, project):
    """CPU ms, wall ms, peak MiB."""
    start = time.monotonic()
    process = subprocess.Popen([binary, "run", "-q", "-j", "2"], cwd=project,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{binary} ended with {process.returncode}")
    wall_ms = (time.monotonic() - start) * 1000
    return (usage.ru_utime + usage.ru_stime) * 1000, wall_ms, usage.ru_maxrss / 1024


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for binary in sys.argv[2:]:
        runs = sorted(once(os.path.abspath(binary), sys.argv[1]) for _ in range(9))
        cpu_ms, wall_ms, peak_mib = runs[0]
        print(f"{binary}: best {cpu_ms:.1f} ms CPU, {wall_ms:.1f} ms wall, {peak_mib:.0f} MiB; "
              f"median {runs[4][0]:.1f} ms CPU")


if __name__ == "__main__":
    main()
