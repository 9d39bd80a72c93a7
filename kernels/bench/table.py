"""What was measured, as one page of Markdown: render(lines) of the lines that gpu.py collects; or, of a file of them,
table.py results.jsonl."""

import json
import sys

# Kernels of a profile that are shown.
LONGEST = 8
# Counters that are shown of each kernel that ncu looked at.
COUNTERS = ("Duration", "Compute (SM) Throughput", "Memory Throughput", "DRAM Throughput", "L2 Cache Throughput",
            "L1/TEX Cache Throughput", "Max Bandwidth")


def cell(value, form):
    return form.format(value) if value else "-"


def row(ours, floors, theirs):
    name, seconds = ours["name"], ours["seconds"]
    kind = "flop" if "flop" in ours else "bytes"
    rate, peer = ours[kind] / seconds, theirs.get(name)
    ceiling = ours[kind] / ours["floor_seconds"] if ours.get("floor_seconds") else floors[kind]
    unit = f"{rate / 1e12:.1f} TFLOP/s" if kind == "flop" else f"{rate / 1e9:.0f} GB/s"
    tokens = ours.get("tokens_per_second")
    faster = peer and peer["seconds"] / seconds
    if peer and "tokens_per_second" in peer and tokens:
        # Peers may have to do with fewer layers or tokens: what each makes of a layer counts.
        share = ours.get("layers", 1) / peer.get("layers", ours.get("layers", 1))
        faster = tokens / peer["tokens_per_second"] * share
    return (f"| {name} | {seconds * 1e3:.3f} | {unit} | {cell(ceiling and rate / ceiling, '{:.0%}')} "
            f"| {cell(tokens, '{:.0f}')} | {cell(peer and peer['seconds'] * 1e3, '{:.3f}')} | {cell(faster, '{:.2f}')} |")


def profiles(lines):
    names = dict.fromkeys(it["profile"] for it in lines if "profile" in it)
    for name in names:
        kernels = [it for it in lines if it.get("profile") == name]
        whole = sum(it["seconds"] for it in kernels)
        yield f"\nKernels of {name}, {whole * 1e3:.2f} ms in all, launched one by one:"
        for it in kernels[:LONGEST]:
            yield f"- {it['share']:.0%}, {it['seconds'] * 1e3:.3f} ms in {it['launches']}: {it['kernel']}"


def counters(lines):
    for part in dict.fromkeys(it["part"] for it in lines if it.get("by") == "ncu"):
        values = [f"{it['metric']} {it['value']} {it['unit']}" for it in lines
                  if it.get("by") == "ncu" and it["part"] == part and it.get("metric") in COUNTERS]
        if values:
            yield f"- {part}: " + ", ".join(dict.fromkeys(values))


def checks(lines):
    primitives = [it for it in lines if "probe" in it]
    if primitives:
        right = [it for it in primitives if it["ok"]]
        yield f"Primitives: {len(right)} of {len(primitives)} are what kernels believe."
    for way in dict.fromkeys(it["way"] for it in lines if "test" in it):
        all_of_them = [it for it in lines if "test" in it and it["way"] == way]
        right = [it for it in all_of_them if it.get("ok")]
        skipped = [it for it in all_of_them if "skipped" in it]
        yield f"{way[0].upper()}{way[1:]}: {len(right)} of {len(all_of_them)} passed, {len(skipped)} had no time left."


def is_well(line):
    is_bad = line.get("status", 0) != 0 or not line.get("ended_well", True) or not line.get("ok", True)
    return not (is_bad or "failed" in line or "skipped" in line or "stopped" in line)


def render(lines):
    out = []
    machines = [f"{it['device']}, driver {it['driver']}" for it in lines if "device" in it]
    machines += [f"PyTorch {it['torch']} on {it['on']}" + (", kept" if it.get("kept") else "") for it in lines if "torch" in it]
    out += dict.fromkeys(machines)
    out += checks(lines)
    out += profiles(lines)
    shown = list(counters(lines))
    if shown:
        out += ["\nBy ncu:", *shown]
    theirs = {it["name"]: it for it in lines if it.get("by") == "peers" and "name" in it}
    copy, product = (theirs.get(name, {}).get("seconds") for name in ("ceiling copy of 2 GiB", "ceiling product of 8192"))
    floors = {"bytes": copy and 2 * 2**31 / copy, "flop": product and 2 * 8192**3 / product}
    ours = [it for it in lines if it.get("by") == "ours" and "seconds" in it and "name" in it and ("flop" in it or "bytes" in it)]
    if ours:
        out += ["", "| what | ms | TFLOP/s or GB/s | of the ceiling | tokens/s | PyTorch, ms | ours is faster by |",
                "|---|---|---|---|---|---|---|"]
        out += [row(it, floors, theirs) for it in ours]
    bad = [it for it in lines if not is_well(it)]
    if bad:
        out += ["", "Not well:", *(f"- {json.dumps(it)}" for it in bad)]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(render([json.loads(line) for line in file]))
