"""Whether a run of the village shows what it should: reads `out`, prints a table, fails where a goal is missed.

    python3 examples/village/goals.py [OUT]
"""

import json
import re
import sys
from pathlib import Path


def main(out):
    read = lambda step: json.loads((out / step / "metrics.json").read_text(encoding="utf-8"))
    method, answers, exams, held, topics = (read(it) for it in ("method", "answers", "exams", "held", "sorted"))
    page = (out / "page" / "folder" / "index.html").read_text(encoding="utf-8")
    rows = [
        ("instructions recovered", method["instruction_recovered"], ">=", 0.9),
        ("是/否 right", method["filter_right"], ">=", 0.9),
        ("好/差 right", method["score_right"], ">=", 0.9),
        ("good passages kept, focused less comprehensive", method["kept_by_focused"] - method["kept_by_comprehensive"], ">", 0),
        ("polished answers less raw outputs, least", answers["polished_minus_raw_low"], ">", 0),
        ("exam: the largest subset less before, least", exams["final_600_minus_before_low"], ">", 0),
        ("held-out questions: the largest subset less before, least", held["final_600_minus_before_low"], ">", 0),
    ]
    for name, numbers in (("exam", exams), ("held-out questions", held)):
        for small, large in (("before", "final_150"), ("final_150", "final_300"), ("final_300", "final_600")):
            rows.append((f"{name}: {large} less {small}", numbers[large] - numbers[small], ">", 0))
    rows += [("questions sorted by topic, right", topics["topic_right"], ">=", 0.9),
             ("questions sorted by form, right", topics["form_right"], ">=", 0.9),
             ("models in the order of the truth, after Bradley and Terry", in_order(out, held), ">=", 1)]
    labels = [*(f"table-{n}" for n in range(1, 4)), *(f"figure-{n}" for n in range(2, 10))]
    rows += [(f"the page has {it}", len(re.findall(f'id="s\\d+-{it}-', page)), ">=", 1) for it in labels]
    missed = 0
    for name, value, sign, goal in rows:
        good = value >= goal if sign == ">=" else value > goal
        missed += not good
        print(f"{'' if good else 'missed'}\t{value:7.3f}\t{sign} {goal}\t{name}")
    return 1 if missed else 0


def in_order(out, held):
    """Whether simulated annotators place the models as their shares of right answers do; the chat model judges apart."""
    with open(out / "comparison" / "ranking.jsonl", encoding="utf-8") as file:
        rows = [it for it in map(json.loads, file) if it["by"] == "simulated"]
    placed = [it["model"] for it in sorted(rows, key=lambda it: it["place"])]
    return int(placed == sorted(placed, key=lambda it: -held[it]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "out")))
