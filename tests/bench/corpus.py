"""Throughput and peak memory of the kinds that work on records, on records made here.

    python3 tests/bench/corpus.py target/release/kun --records 1000000 --folder FOLDER

It writes a WuDao-shaped array of records (a tenth of them near copies of others, one in a thousand
broken), runs one step after another, each in a process of its own, and prints a table: bytes of
input by the second of wall time and of processor time, and the largest resident size of any process.
The time includes what the runner adds: hashing of sources, taking results into the store.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import time

STEPS = {
    "raw": 'op = "corpus"\nin = { files = "raw.json" }\nwith = { format = "wudao", max_unread = 0.01 }',
    "once": 'op = "dedup"\nin = { data = "${steps.raw.data}" }',
    "exact": 'op = "dedup"\nin = { data = "${steps.raw.data}" }\nwith = { method = "exact" }',
    "clean": 'op = "decontaminate"\nin = { data = "${steps.raw.data}", against = "exam.jsonl" }',
    "part": 'op = "select"\nin = { data = "${steps.raw.data}" }\n'
    'with = { n = 100_000, stratify = "dataType" }',
    "mixed": 'op = "mix"\nin = { data = ["${steps.raw.data}", "${steps.part.data}"] }\n'
    "with = { weights = [3, 1], n = 100_000 }",
    "narrow": 'op = "normalize"\nin = { data = "${steps.raw.data}" }',
    "private": 'op = "anonymize"\nin = { data = "${steps.raw.data}" }',
    "passages": 'op = "segment"\nin = { data = "${steps.raw.data}" }',
    "ruled": 'op = "rules"\nin = { data = "${steps.raw.data}" }',
    "juiced": 'op = "rules"\nin = { data = "${steps.raw.data}" }\nwith = { preset = "ratios" }',
    "recut": 'op = "cut"\nin = { data = "${steps.raw.data}", ledger = "${steps.ruled.ledger}" }\n'
    "with = { min = { length = 200 } }",
    "measured": 'op = "measure"\nin = { data = "${steps.raw.data}" }\n'
    'with = { values = { id = "raw_id" }, max = { id = 500_000 } }',
    "described": 'op = "stats"\nin = { data = "${steps.raw.data}" }',
    "drawn": 'op = "sample"\nin = { data = "${steps.raw.data}" }\nwith = { n = 500_000 }',
    "distinct": 'op = "unique"\nin = { data = "${steps.raw.data}" }',
    "counted": 'op = "count"\nin = { data = "${steps.raw.data}" }',
}


def write_records(path, n, scale):
    """Texts of 150 to 450 characters, times `scale`, out of seeded random words; returns the number of bytes."""
    dice = random.Random(1)
    signs = [chr(0x4E00 + i) for i in range(3000)]
    words = ["".join(dice.choices(signs, k=dice.choice((1, 2, 2, 3)))) for _ in range(20000)]
    recent, groups = [], (max(1, round(9 * scale)), max(1, round(27 * scale)))
    with open(path, "w", encoding="utf-8") as out:
        out.write("[\n")
        for i in range(n):
            if recent and i % 10 == 0:
                text = dice.choice(recent)
                at = dice.randrange(len(text))
                text = text[:at] + dice.choice(words) + text[at:]
            else:
                text = "，".join("".join(dice.choices(words, k=8)) for _ in range(dice.randint(*groups)))
                text += "。"
                recent = recent[-99:] + [text]
            record = {"id": i, "title": words[i % 20000], "dataType": words[i % 7], "content": text}
            line = json.dumps(record, ensure_ascii=False)
            out.write((line[:-1] if i % 1000 == 999 else line) + (",\n" if i + 1 < n else "\n]\n"))
    return path.stat().st_size


def measure(command, folder):
    """Wall seconds, processor seconds and peak MiB of a command and all that it waits for."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command} ended with {status}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kun", type=pathlib.Path)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=1.0, help="of the texts' lengths")
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    size = write_records(given.folder / "raw.json", given.records, given.scale)
    exam = [{"question": "".join(random.Random(i).choices("甲乙丙丁戊己庚辛", k=40))} for i in range(5000)]
    (given.folder / "exam.jsonl").write_text(
        "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in exam), encoding="utf-8"
    )
    manifest = "\n".join(f"[steps.{name}]\n{text}" for name, text in STEPS.items())
    (given.folder / "workflow.toml").write_text(manifest + "\n", encoding="utf-8")
    kun = str(given.kun.resolve())
    print(f"{given.records} records, {size / 1e6:.0f} MB")
    print("| step | wall s | cpu s | MB/s wall | MB/s cpu | peak MiB |\n|---|---|---|---|---|---|")
    for name in STEPS:
        wall, cpu, peak = measure([kun, "run", "-q", name], given.folder)
        row = f"{wall:.1f} | {cpu:.1f} | {size / 1e6 / wall:.0f} | {size / 1e6 / cpu:.0f} | {peak:.0f}"
        print(f"| {name} | {row} |", flush=True)


if __name__ == "__main__":
    main()
