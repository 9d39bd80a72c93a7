#!/usr/bin/env python3
"""How long `kun report` takes over nine variants of 400,000 rows, and how much memory.

    python3 tests/bench/report.py --bin target/release [--rows 400000]

Made texts go through `rules`; each variant draws a sample of its own size, whose ledger has a row for each record
that passed the rules, and counts it. Each variant also has what training and exams leave behind, written by a program in
the shapes of `sft` and `eval`: a log of 2,000 steps with answers on the way, and 12,928 answered questions of 119
subjects. Then the newest results of all variants are reported, three times.
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


# What a variant's training and exams leave behind.
LEFT = """
import json, math, random, sys
size, log, metrics, predictions, subjects = int(sys.argv[1]), *sys.argv[2:]
draw = random.Random(size)
with open(log, "w") as out:
    for step in range(1, 2001):
        loss = 1 + 3 / math.sqrt(step) + draw.random() / 10
        out.write(json.dumps({"step": step, "steps": 2000, "loss": loss, "learning_rate": 1e-5}) + "\\n")
        if step % 200 == 0:
            for i in range(8):
                text = "".join(draw.choices("山水风云日月星辰", k=80))
                out.write(json.dumps({"step": step, "prompt": f"question {i}", "want": text, "text": text}) + "\\n")
right_of_all = 0
with open(predictions, "w") as out, open(subjects, "w") as table:
    for subject in range(119):
        n = 109 if subject < 76 else 108
        rights = [draw.random() < 0.25 + size / 1e6 for _ in range(n)]
        for i, right in enumerate(rights):
            out.write(json.dumps({"id": f"s{subject}.{i}", "subject": f"s{subject}", "right": right}) + "\\n")
        share = sum(rights) / n
        right_of_all += sum(rights)
        table.write(json.dumps({"subject": f"s{subject}", "name": f"s{subject}", "groups": ["other"], "n": n,
            "right": sum(rights), "unclear": 0, "accuracy": share, "low": share / 2, "high": (1 + share) / 2}) + "\\n")
json.dump({"accuracy": right_of_all / 12928}, open(metrics, "w"))
"""


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

[steps.left]
run = ["python3", "left.py", "${{params.n}}", "${{out.log}}", "${{out.metrics}}", "${{out.predictions}}", "${{out.subjects}}"]
out = {{ log = "records", metrics = "metrics", predictions = "records", subjects = "records" }}
code = ["left.py"]

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
        (folder / "left.py").write_text(LEFT)
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
