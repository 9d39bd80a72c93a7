"""What the world says of what the models wrote.

    python3 score.py LABELS FILTERED SCORED POLISHED METRICS

Shares with their 95 % intervals: instructions that a text answers, judgements that are right, and
answers that state the facts that were asked for and nothing else.
"""

import json
import math
import sys


def rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def wilson(right, n):
    """The 95 % interval of a share."""
    z, share = 1.959964, right / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def share(numbers, name, verdicts):
    verdicts = list(verdicts)
    numbers[f"{name}_n"] = len(verdicts)
    if verdicts:
        low, high = wilson(sum(verdicts), len(verdicts))
        numbers |= {name: sum(verdicts) / len(verdicts), f"{name}_low": low, f"{name}_high": high}


def main(labels, filtered, scored, polished, metrics):
    numbers = {}
    share(numbers, "instruction_recovered", (it["instruction"].strip() in it["right"] for it in rows(labels)
                                   if it["kind"] != "noise"))
    share(numbers, "filter_right", (it["judged"] == it["right"] for it in rows(filtered)))
    share(numbers, "score_right", (it["judged"] == it["right"] for it in rows(scored)))
    kept = rows(polished)
    share(numbers, "answer_right", (it["polished"].strip() == it["answer"] for it in kept))
    numbers["noise_kept"] = sum(it["kind"] == "noise" for it in kept)
    with open(metrics, "w", encoding="utf-8") as file:
        json.dump(numbers, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
