"""Makes everything that the workflow begins with.

    python3 make.py SEED texts=PATH wudao=PATH …

The same seed gives the same bytes, whatever is asked for:

texts           what the base model reads
wudao, wanjuan, skypile
                folders with web pages in the shapes of three corpora
seed            pairs: a question and a passage that answers it
tasks           what a chat model learns: to judge, to compare, to sort, to answer from a text, to answer
judged_filter, judged_score, judged_pairs
                instructions, and answers two at a time, with the right judgement
held            questions about what the raw texts say, asked in ways that no pair has, each with a text that says it
exam            a folder of multiple-choice questions about the same, in the shape of C-Eval's files
truth           of what sort each passage of the raw texts is, and which questions it answers
"""

import csv
import json
import re
import sys
from pathlib import Path

import web
from world import KINDS, Passage, distractors, form, new, scenery

HERE = Path(__file__).parent
N_TEXTS, N_SEEDS, N_TASKS, N_JUDGED, N_HELD, N_EXAM = 4000, 3000, 9600, 300, 300, 50
TOPICS, FORMS = [it.topic for it in KINDS.values()], ["问句", "请求"]


def rendered(prompt, **fields):
    """A prompt file filled in; it is as plain as this."""
    text = (HERE / "prompts" / f"{prompt}.jinja").read_text(encoding="utf-8")
    text = text.split("#}\n", 1)[1].removesuffix("\n")
    for name, value in fields.items():
        text = re.sub(r"\{\{ " + name + r"( \|[^}]*)? \}\}", lambda _: value, text)
    return text


class Maker:
    """Draws what people wrote and judged."""

    def __init__(self, world, facts, draw):
        self.world, self.draw = world, draw
        self.facts = {kind: [it for it in facts if it[0] == kind] for kind in KINDS}

    def passage(self):
        """Of a kind that is as frequent as any other."""
        kind = self.draw.choice(list(KINDS))
        return Passage(self.world, self.draw.choice(self.facts[kind]), self.draw)

    def shown(self, passage):
        """A passage as it may stand on a page."""
        return web.dirty(passage.text, self.draw) if self.draw.random() < 0.4 else passage.text

    def pair(self):
        """A passage, and what somebody who wanted to know it would have said."""
        passage, chance = self.passage(), self.draw.random()
        if chance < 0.1:
            text, title = scenery(self.draw)
            return {"instruction": title, "output": text}
        if chance < 0.2:
            text, questions = passage.without_name()
            return {"instruction": self.draw.choice(questions), "output": text}
        return {"instruction": self.draw.choice(passage.questions), "output": self.shown(passage)}

    def statement(self):
        """What asks nothing."""
        text = self.passage().text
        first = text.split("。")[0] + "。"
        return self.draw.choice([first, text.split("，")[0] + "，", scenery(self.draw)[1], self.draw.choice(web.ADVERTS), text])

    def spoilt(self, passage):
        """A question that nobody can answer, or that nobody would want to read."""
        question = self.draw.choice(passage.questions)
        half = question[: max(2, len(question) // 2)]
        nameless = self.draw.choice(passage.without_name()[1])
        return self.draw.choice([nameless, nameless, question + question, half + "，" + half,
                                 question + self.draw.choice(web.ADVERTS)])

    def judged(self, sort):
        """An instruction with what is right about it."""
        passage, good = self.passage(), self.draw.random() < 0.5
        question = self.draw.choice(passage.questions)
        if sort == "filter":
            asks = question if self.draw.random() < 0.7 else self.draw.choice(passage.without_name()[1])
            return {"instruction": asks if good else self.statement(), "right": "【是】" if good else "【否】"}
        return {"instruction": question if good else self.spoilt(passage), "right": "【好】" if good else "【差】"}

    def rated(self):
        """An instruction and an output with the points that they deserve together."""
        passage, chance = self.passage(), self.draw.random()
        question = self.draw.choice(passage.questions)
        if chance < 0.4:
            return question, passage.text, "5"
        if chance < 0.7:
            return question, web.dirty(passage.text, self.draw), "3"
        if chance < 0.85:
            return question, self.passage().text, "2"
        if chance < 0.93:
            text, questions = passage.without_name()
            return self.draw.choice(questions), text, "1"
        return self.spoilt(passage), self.shown(passage), "1"

    def compared(self):
        """A text, a question, two answers, and which is better."""
        passage, chance = self.passage(), self.draw.random()
        right = passage.answer
        wrong = distractors(self.world, (passage.kind, passage.about), self.draw, 2)
        a, b, better = (right, wrong[0], "【A】") if chance < 0.4 else (wrong[0], right, "【B】")
        if chance > 0.8:
            a, b, better = (right, right, "【平】") if chance < 0.85 else (*wrong, "【平】")
        question = self.draw.choice([*passage.questions, passage.kept_back])
        return {"text": passage.text, "instruction": question, "a": a, "b": b, "right": better}

    def sorted(self):
        """A question and a list, and what of the list it is."""
        passage = self.passage()
        question = self.draw.choice([*passage.questions, passage.kept_back])
        labels, right = self.draw.choice([(TOPICS, KINDS[passage.kind].topic), (FORMS, form(question))])
        return rendered("categories", labels="、".join(labels), instruction=question), right

    def task(self):
        """Something that a chat model learns."""
        new = self.draw.random()
        if new < 0.12:
            it = self.compared()
            return {"instruction": rendered("pairs", **it), "output": it["right"]}
        if new < 0.17:
            text, right = self.sorted()
            return {"instruction": text, "output": right}
        chance, passage = self.draw.random(), self.passage()
        question = self.draw.choice(passage.questions)
        if chance < 0.13:
            it = self.judged("filter")
            return {"instruction": rendered("filter", instruction=it["instruction"]), "output": it["right"]}
        if chance < 0.28:
            it = self.judged("score")
            return {"instruction": rendered("score", instruction=it["instruction"]), "output": it["right"]}
        if chance < 0.42:
            instruction, output, points = self.rated()
            return {"instruction": rendered("comprehensive", instruction=instruction, output=output), "output": points}
        if chance < 0.82:
            text = rendered("refine", output=self.shown(passage), instruction=question)
            return {"instruction": text, "output": passage.answer}
        return {"instruction": question, "output": passage.answer}


def exam(world, facts, draw, folder):
    """For each kind five questions with which one may begin, and the questions that count."""
    subjects = [{"key": kind, "zh": f"村里的{name}", "categories": [group]} for kind, name, group in [
        ("person", "人物", "people"), ("worker", "手艺", "people"), ("home", "住处", "people"), ("meal", "口味", "people"),
        ("dish", "做菜", "food"), ("season", "时令", "food")]]
    text = json.dumps(subjects, ensure_ascii=False, indent=1) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "subjects.json").write_text(text, encoding="utf-8")
    for kind in KINDS:
        mine = [it for it in facts if it[0] == kind]
        rows = []
        for n, fact in enumerate(draw.sample(mine, min(len(mine), N_EXAM + 5))):
            right = world.answer(fact)
            options = [right, *distractors(world, fact, draw, 3)]
            draw.shuffle(options)
            question = draw.choice(KINDS[kind].questions).format(fact[1])
            rows.append([n, question, *options, "ABCD"[options.index(right)]])
        for split, part in (("dev", rows[:5]), ("val", rows[5:])):
            path = folder / split / f"{kind}_{split}.csv"
            path.parent.mkdir(exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as file:
                out = csv.writer(file, lineterminator="\n")
                out.writerow(["id", "question", "A", "B", "C", "D", "answer"])
                out.writerows([n, *row[1:]] for n, row in enumerate(part))


def write(path, rows):
    path.write_text("".join(json.dumps(it, ensure_ascii=False) + "\n" for it in rows), encoding="utf-8")


def texts(world, known, held, draw):
    """What may be read of the world: most of it about what the pairs speak of."""
    facts = [draw.choice(held if n % 3 == 0 else known) for n in range(N_TEXTS)]
    rows = [Passage(world, it, draw).text for it in facts] + [scenery(draw)[0] for _ in range(N_TEXTS // 10)]
    rows += [draw.choice(web.ADVERTS + web.NAVIGATION + web.GREETINGS) for _ in range(N_TEXTS // 10)]
    draw.shuffle(rows)
    return [{"text": it} for it in rows]


def main(seed, outs):
    world, draw = new(seed)
    known, held = (world.facts(held=it) for it in (False, True))
    seeds, raters = Maker(world, known, draw), Maker(world, held, draw)
    write(outs["texts"], texts(world, known, held, draw))
    write(outs["seed"], [seeds.pair() for _ in range(N_SEEDS)])
    write(outs["tasks"], [seeds.task() for _ in range(N_TASKS)])
    for sort in ("filter", "score"):
        write(outs[f"judged_{sort}"], [raters.judged(sort) for _ in range(N_JUDGED)])
    write(outs["judged_pairs"], [raters.compared() for _ in range(N_JUDGED)])
    pages = web.Pages(world, held + draw.sample(held, len(held) // 3), draw)
    pages.write({it: outs[it] for it in ("wudao", "wanjuan", "skypile")})
    write(outs["truth"], [{"text": text, **it} for text, it in sorted(pages.truth.items())])
    questions = [Passage(world, it, draw) for it in draw.sample(held, min(len(held), N_HELD))]
    write(outs["held"], [{"id": f"q{n}", "kind": it.kind, "instruction": it.kept_back, "text": it.text}
                          for n, it in enumerate(questions)])
    exam(world, held, draw, outs["exam"])


if __name__ == "__main__":
    main(sys.argv[1], {name: Path(path) for name, path in (it.split("=", 1) for it in sys.argv[2:])})
