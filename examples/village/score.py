"""How many instructions of a label model are right: one of those that the passage answers.

    python3 score.py LABELS METRICS
"""

import json
import math
import sys
from collections import Counter


def wilson(right, n):
    """The 95 % interval of a share."""
    if n == 0:
        return 0.0, 1.0
    z, share = 1.959964, right / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def main(labels, metrics):
    right, all_ = Counter(), Counter()
    with open(labels, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for of in ("all", row["kind"]):
                all_[of] += 1
                right[of] += row["instruction"].strip() in row["right"]
    low, high = wilson(right["all"], all_["all"])
    numbers = {"recovered": right["all"] / max(all_["all"], 1), "low": low, "high": high,
               "passages": all_["all"]}
    numbers |= {f"recovered_{of}": right[of] / all_[of] for of in sorted(all_) if of != "all"}
    with open(metrics, "w", encoding="utf-8") as file:
        json.dump(numbers, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
