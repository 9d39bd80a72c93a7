"""One table of our times and PyTorch's: table.py OURS PEERS PARTS, all lines of JSON; the table goes to the
standard output, all numbers to results.json."""

import json
import sys


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.startswith("{")]
    except FileNotFoundError:
        return []


def cell(value, form):
    return form.format(value) if value else "-"


def row(it, floors, theirs):
    name, seconds = it["name"], it["seconds"]
    kind = "flop" if "flop" in it else "bytes"
    rate, peer = it[kind] / seconds, theirs.get(name)
    ceiling = it.get("floor_seconds") and it[kind] / it["floor_seconds"] or floors[kind]
    unit = f"{rate / 1e12:.1f} TFLOP/s" if kind == "flop" else f"{rate / 1e9:.0f} GB/s"
    tokens = it.get("tokens_per_second")
    faster = peer and peer["seconds"] / seconds
    if peer and "tokens_per_second" in peer and tokens:
        # Peers may have to do with fewer layers or tokens: what each makes of a layer counts.
        share = it.get("layers", 1) / peer.get("layers", it.get("layers", 1))
        faster = tokens / peer["tokens_per_second"] * share
    print(f"| {name} | {seconds * 1e3:.3f} | {unit} | {cell(ceiling and rate / ceiling, '{:.0%}')} "
          f"| {cell(tokens, '{:.0f}')} | {cell(peer and peer['seconds'] * 1e3, '{:.3f}')} | {cell(faster, '{:.2f}')} |")
    return {**it, "peer": peer, "ceiling": ceiling, "faster": faster}


def main():
    ours, peers, parts = (read(path) for path in sys.argv[1:4])
    theirs = {it["name"]: it for it in peers if "name" in it}
    copy, product = (theirs.get(name, {}).get("seconds") for name in ("ceiling copy of 2 GiB", "ceiling product of 8192"))
    floors = {"bytes": copy and 2 * 2**31 / copy, "flop": product and 2 * 8192**3 / product}
    machines = [str(it) for it in ours + peers if "device" in it or "torch" in it]
    print("\n".join(dict.fromkeys(machines)))
    print("| what | ms | TFLOP/s or GB/s | of the ceiling | tokens/s | PyTorch, ms | ours is faster by |")
    print("|---|---|---|---|---|---|---|")
    results = [row(it, floors, theirs) for it in ours if "name" in it and "seconds" in it and ("flop" in it or "bytes" in it)]
    for it in ours + peers + parts:
        if it.get("status", 0) != 0 or not it.get("ended_well", True) or "failed" in it or "skipped" in it:
            print(f"not well: {it}")
    with open("results.json", "w", encoding="utf-8") as file:
        json.dump({"ours": results, "lines": ours, "peers": peers, "parts": parts}, file, indent=1)


if __name__ == "__main__":
    main()
