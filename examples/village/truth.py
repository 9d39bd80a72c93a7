"""What the world says of what models wrote.

    python3 truth.py answers SEED FIELD RECORDS VERDICTS
    python3 truth.py sorted SEED TOPICS FORMS METRICS
    python3 truth.py method SEED TRUTH LABELS FILTERED SCORED PAIRED FOCUSED COMPREHENSIVE METRICS

`sorted` writes the shares of questions that a model sorted rightly. `answers` writes for each record whether its FIELD answers its instruction: whether it states all that was
asked for, as the world has it, and nothing that belongs to a page and to no answer. `method` writes the
shares of instructions and judgements that are right, with their 95 % intervals, and of good passages
that two ways of scoring keep.
"""

import json
import math
import sys

import web
from world import KINDS, form, new


def rows(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def asked(world):
    """Which fact each question asks for."""
    ways = [(kind, it) for kind in KINDS for it in [*KINDS[kind].questions, KINDS[kind].kept_back]]
    return {way.format(about): (kind, about) for kind, way in ways for about in world.about(kind)}


def answers(seed, field, records, verdicts):
    world, _ = new(seed)
    facts = asked(world)

    def right(row):
        fact, text = facts.get(row["instruction"].strip()), row[field]
        return fact is not None and all(it in text for it in world.states(fact)) and not web.soiled(text)

    with open(verdicts, "w", encoding="utf-8") as file:
        for row in rows(records):
            verdict = {"id": row["id"], "instruction": row["instruction"], "answer": row[field], "right": right(row)}
            file.write(json.dumps(verdict, ensure_ascii=False) + "\n")


def wilson(right, n):
    """The 95 % interval of a share."""
    z, share = 1.959964, right / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def share(numbers, name, verdicts):
    verdicts = list(verdicts)
    low, high = wilson(sum(verdicts), len(verdicts))
    numbers |= {f"{name}_n": len(verdicts), name: sum(verdicts) / len(verdicts), f"{name}_low": low, f"{name}_high": high}


def method(seed, truth, labels, filtered, scored, paired, focused, comprehensive, metrics):
    """Passages are known by their text; what cleaning changed on purpose is not changed here."""
    sorts = {it["text"]: it for it in rows(truth)}
    labels = [(sorts.get(it["text"]), it["instruction"].strip()) for it in rows(labels)]
    good = [(it, said) for it, said in labels if it and it["sort"] in ("clean", "dirty")]
    numbers = {"passages": len(labels), "passages_unknown": sum(it is None for it, _ in labels)}
    share(numbers, "instruction_recovered", (said in it["right"] for it, said in good))
    for name, path in (("filter_right", filtered), ("score_right", scored), ("pairs_right", paired)):
        share(numbers, name, (it["judged"] == it["right"] for it in rows(path)))
    for name, path in (("focused", focused), ("comprehensive", comprehensive)):
        kept = [sorts.get(it["text"], {"sort": "unknown"})["sort"] for it in rows(path)]
        n_good = sum(it in ("clean", "dirty") for it in kept)
        share(numbers, f"kept_by_{name}", (n < n_good for n in range(len(good))))
        numbers[f"kept_by_{name}_of_no_use"] = len(kept) - n_good
    with open(metrics, "w", encoding="utf-8") as file:
        json.dump(numbers, file, indent=1)
        file.write("\n")


def sorted_right(seed, topics, forms, metrics):
    facts, numbers = asked(new(seed)[0]), {}
    known = lambda path: [it for it in rows(path) if it["instruction"].strip() in facts]
    topic = lambda it: KINDS[facts[it["instruction"].strip()][0]].topic
    share(numbers, "topic_right", (it["topic"] == topic(it) for it in known(topics)))
    share(numbers, "form_right", (it["form"] == form(it["instruction"].strip()) for it in known(forms)))
    with open(metrics, "w", encoding="utf-8") as file:
        json.dump(numbers, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    {"answers": answers, "method": method, "sorted": sorted_right}[sys.argv[1]](*sys.argv[2:])
