"""One table of our times and PyTorch's: table.py OURS PEERS, both lines of JSON; the table goes to the
standard output, all numbers to results.json."""

import json
import sys


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.startswith("{")]
    except FileNotFoundError:
        return []


def main():
    ours, peers = read(sys.argv[1]), read(sys.argv[2])
    theirs = {it["name"]: it["seconds"] for it in peers if "name" in it}
    copy, product = theirs.get("ceiling copy of 2 GiB"), theirs.get("ceiling product of 8192")
    floors = {"bytes": copy and 2 * 2**31 / copy, "flop": product and 2 * 8192**3 / product}
    for it in ours + peers:
        if "device" in it:
            print(it)
    print("| what | ms | TFLOP/s or GB/s | of the ceiling | PyTorch, ms | ours is faster by |")
    print("|---|---|---|---|---|---|")
    results = []
    for it in ours:
        if "name" not in it:
            continue
        name, seconds = it["name"], it["seconds"]
        kind = "flop" if "flop" in it else "bytes"
        rate, ceiling, peer = it[kind] / seconds, floors[kind], theirs.get(name)
        unit = f"{rate / 1e12:.1f} TFLOP/s" if kind == "flop" else f"{rate / 1e9:.0f} GB/s"
        share = f"{rate / ceiling:.0%}" if ceiling else "-"
        faster = f"{peer / seconds:.2f}" if peer else "-"
        peer_ms = f"{peer * 1e3:.3f}" if peer else "-"
        print(f"| {name} | {seconds * 1e3:.3f} | {unit} | {share} | {peer_ms} | {faster} |")
        results.append({**it, "peer_seconds": peer, "ceiling": ceiling})
    with open("results.json", "w", encoding="utf-8") as file:
        json.dump({"ours": results, "peers": peers}, file, indent=1)


if __name__ == "__main__":
    main()
