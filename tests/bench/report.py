#!/usr/bin/env python3
"""How long `kun report` takes over nine variants and a filter's ledger of 400,000 rows, and how much memory.

    python3 tests/bench/report.py --bin target/release [--rows 400000]

Made texts go through `rules`; each variant draws a sample of its own size, whose ledger has a row for each record
that passed the rules, and counts it. Then the newest results of all variants are reported, three times.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = [9, 26, 39, 52, 100, 150, 200, 300, 360]
CHARACTERS = "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好看起发当没成只如事把还用第样道想作种开"


def records(path, rows):
    draw = random.Random(7)
    with path.open("w", encoding="utf-8") as out:
        for i in range(rows):
            text = "".join(draw.choices(CHARACTERS, k=draw.randint(5, 200)))
            source = ["wudao", "wanjuan", "skypile"][i % 3]
            out.write(json.dumps({"id": f"r{i}", "text": text, "source": source}, ensure_ascii=False) + "\n")


def manifest(rows):
    variants = "".join(f"k{it} = {{ n = {rows * it // 1000} }}\n" for it in SIZES)
    return f"""[workflow]
name = "wide"
format = 1
seed = 1

[params]
n = 1

[variants]
{variants}
[steps.clean]
op = "rules"
in = {{ data = "records.jsonl" }}
with = {{ field = "text", min = {{ length = 20 }} }}

[steps.part]
op = "sample"
in = {{ data = "${{steps.clean.data}}" }}
with = {{ n = "${{params.n}}" }}

[steps.size]
op = "count"
in = {{ data = "${{steps.part.data}}" }}
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--rows", type=int, default=400_000)
    arguments = parser.parse_args()
    kun = str(Path(arguments.bin, "kun").resolve())
    with tempfile.TemporaryDirectory() as there:
        folder = Path(there)
        records(folder / "records.jsonl", arguments.rows)
        (folder / "workflow.toml").write_text(manifest(arguments.rows))
        subprocess.run([kun, "run", "-q", "--variant", "*"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for _ in range(3):
            start = time.monotonic()
            child = subprocess.Popen([kun, "report", "--variant", "*"], cwd=folder, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            assert status == 0, status
            took, size = time.monotonic() - start, (folder / "report/index.html").stat().st_size
            print(f"{took:.2f} s, {usage.ru_utime + usage.ru_stime:.2f} s of processor, "
                  f"{usage.ru_maxrss / 1024:.0f} MiB, page of {size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
