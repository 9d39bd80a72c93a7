"""Stands for people who judge: votes from what the world knows, with mistakes.

    python3 simulate.py SEED STUDY VOTES

Three annotators look at everything in a study. Each knows what is true and makes mistakes of their own: in a share of
their answers, `MISTAKES`, they take any other answer instead. The votes are in the shape of `kun annotate --import`, marked
as simulated: nobody was asked.
"""

import json
import random
import sys

import web
from truth import asked, rows
from world import KINDS, new

MISTAKES = {"simulated-1": 0.03, "simulated-2": 0.06, "simulated-3": 0.1}


def worth(world, facts, question, answer):
    """Which part of what was asked for an answer states; less where it says what belongs to a page."""
    fact = facts.get(question.strip())
    if fact is None:
        return 0
    states = world.states(fact)
    return sum(it in answer for it in states) / len(states) - 0.25 * web.soiled(answer)


def rated(world, facts, instruction, output):
    """The four answers about a pair."""
    it = instruction.strip()
    nameless = "那个" in it
    yes = lambda so: "yes" if so else "no"
    value = worth(world, facts, it, output)
    good = "excellent" if value == 1 else "pass" if value > 0 else "fail"
    # Nobody asks in the ways that were kept back, and whoever writes a question twice is not clear.
    return {"clarity": yes(it in facts or nameless), "feasibility": yes(it in facts), "practicality": yes(it in facts), "output": good}


def compared(world, facts, question, answers):
    """The better of two models' answers."""
    (a, one), (b, other) = answers
    first, second = (worth(world, facts, question, it) for it in (one, other))
    return {"better": a if first > second else b if second > first else "tie"}


def units(study):
    """What is asked at once, as `kun annotate` counts it, with what is true of it left to the caller."""
    head, *items = rows(study)
    for item in items:
        names = sorted(item.get("answers", {}))
        if not names:
            yield item["id"], item["shown"], None
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                yield f"{item['id']}/{a}/{b}", item["shown"], [(it, item["answers"][it]) for it in (a, b)]


def main(seed, study, votes):
    world, _ = new(seed)
    facts, draw = asked(world), random.Random(int(seed))
    form = rows(study)[0]["form"]
    choices = {it["id"]: [choice["id"] for choice in it["choices"]] for it in form["questions"]}
    with open(votes, "w", encoding="utf-8") as file:
        for unit, shown, answers in units(study):
            right = compared(world, facts, shown[1], answers) if answers else rated(world, facts, *shown)
            for name, share in MISTAKES.items():
                said = {}
                for question, it in right.items():
                    sides = {"left": answers[0][0], "right": answers[1][0]} if answers else {}
                    others = [sides.get(other, other) for other in choices[question]]
                    others.remove(it)
                    said[question] = draw.choice(others) if draw.random() < share else it
                vote = {"annotator": name, "by": "simulated", "unit": unit, "answers": said}
                if answers:
                    vote["left"] = draw.choice(answers)[0]
                file.write(json.dumps(vote, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
