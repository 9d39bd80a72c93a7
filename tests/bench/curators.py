"""Near duplicates and quality filters by `kun` and by datatrove, on the same records, on one core each.

    python3 -m venv trove && trove/bin/pip install "datatrove[io,processing]==0.6.0" spacy xxhash==3.5.0
    trove/bin/python tests/bench/curators.py target/release/kun --records 20000 --folder FOLDER

Texts are words with blanks between, since datatrove finds words by a tokenizer for one language, here English.
`dedup` estimates the similarity of runs of characters, datatrove's MinHash that of runs of words: what they
find differs, what they do to a byte does not. The filter is datatrove's GopherRepetitionFilter and
GopherQualityFilter, and `rules` with the preset `ratios`: length, repetition, special characters. Processor
time includes all children, and for `kun` hashing and storing; importing Python's modules is measured alone
and taken off.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time

WORK = {
    "nothing": "",
    "minhash": """
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
run([JsonlReader("in", compression=None), MinhashDedupSignature(output_folder="sig", config=config, language="en")])
run([MinhashDedupBuckets(input_folder="sig", output_folder="buckets", config=config)], tasks=14)
run([MinhashDedupCluster(input_folder="buckets", output_folder="clusters", config=config)])
run([JsonlReader("in", compression=None), MinhashDedupFilter(input_folder="clusters"), JsonlWriter("out", compression=None)])
""",
    "gopher": """
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
run([JsonlReader("in", compression=None), GopherRepetitionFilter(language="en"),
     GopherQualityFilter(min_stop_words=0, language="en"), JsonlWriter("out", compression=None)])
""",
}
HEAD = """
import sys, logging
from loguru import logger
logger.remove()
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
def run(pipeline, tasks=1):
    LocalPipelineExecutor(pipeline=pipeline, tasks=tasks, workers=1, skip_completed=False, logging_dir="logs").run()
"""
MANIFEST = """
[steps.minhash]
op = "dedup"
in = { data = "in/records.jsonl" }

[steps.gopher]
op = "rules"
in = { data = "in/records.jsonl" }
with = { preset = "ratios" }
"""


def write_records(path, n):
    """Texts of 60 to 180 seeded random words; a tenth are near copies. Gives the number of bytes."""
    dice = random.Random(1)
    words = ["".join(dice.choices("etaoinshrdlucmfwyp", k=dice.randint(2, 9))) for _ in range(20000)]
    recent = []
    with open(path, "w", encoding="utf-8") as out:
        for i in range(n):
            if recent and i % 10 == 0:
                text = dice.choice(recent).split(" ")
                text[dice.randrange(len(text))] = dice.choice(words)
                text = " ".join(text)
            else:
                text = " ".join(dice.choices(words, k=dice.randint(60, 180))) + "."
                recent = recent[-99:] + [text]
            out.write(json.dumps({"id": str(i), "text": text}) + "\n")
    return path.stat().st_size


def measure(command, folder):
    """Wall seconds, processor seconds and peak MiB of a command and all that it waits for."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command} ended with {status}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kun", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    given = parser.parse_args()
    (given.folder / "in").mkdir(parents=True)
    size = write_records(given.folder / "in" / "records.jsonl", given.records)
    (given.folder / "workflow.toml").write_text(MANIFEST, encoding="utf-8")
    print(f"{given.records} records, {size / 1e6:.1f} MB")
    print("| work | tool | wall s | cpu s | MB/s cpu | peak MiB | kept |\n|---|---|---|---|---|---|---|")
    empty = 0.0
    for work, text in WORK.items():
        took = measure([sys.executable, "-c", HEAD + text], given.folder)
        if work == "nothing":
            empty = took[1]
            continue
        out = given.folder / "out"
        kept = sum(len(it.read_text().splitlines()) for it in out.glob("*.jsonl"))
        show(work, "datatrove", (took[0], took[1] - empty, took[2]), (size, kept))
        subprocess.run(["rm", "-r", str(out)], check=True)
        took = measure([str(given.kun.resolve()), "run", "-q", work], given.folder)
        kept = len((out / work / "data.jsonl").read_text().splitlines())
        show(work, "kun", took, (size, kept))
        subprocess.run(["rm", "-r", str(out)], check=True)


def show(work, tool, took, counts):
    (wall, cpu, peak), (size, kept) = took, counts
    print(f"| {work} | {tool} | {wall:.1f} | {cpu:.2f} | {size / 1e6 / cpu:.2f} | {peak:.0f} | {kept} |", flush=True)


if __name__ == "__main__":
    main()
