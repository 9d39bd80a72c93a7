"""A small closed world in Chinese, and what people wrote about it.

    python3 world.py SEED FOLDER

The same seed gives the same bytes. Writes to FOLDER:

corpus.jsonl    texts, and lines that web pages have, in no order
seed.jsonl      pairs of instruction and output
tasks.jsonl     what a chat model learns besides: to judge instructions, and to answer from a text
raw.jsonl       texts about people and dishes that no pair and no task speaks of, with the instructions
                that each answers and the answer, and among them lines that web pages have
judged-*.jsonl  instructions, with the right judgement
world.json      all facts
"""

import json
import random
import sys
from pathlib import Path

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
GIVEN = "芳强敏洋静帆丽军杰娟涛明超秀霞平刚桂英华文辉玲兰"
TRADES = {
    "木匠": ("刨子", "桌椅", "把木板刨平"), "铁匠": ("铁锤", "锄头", "把铁块打成农具"),
    "裁缝": ("剪刀", "衣裳", "把布裁成衣片"), "渔夫": ("渔网", "鲜鱼", "在水里捕鱼"),
    "厨师": ("炒勺", "饭菜", "在锅里翻炒"), "郎中": ("药秤", "草药", "称出药的分量"),
    "石匠": ("凿子", "石磨", "在石头上凿出槽"), "茶农": ("茶篓", "新茶", "装下采来的茶叶"),
    "篾匠": ("篾刀", "竹篮", "把竹子劈成细条"), "陶工": ("转盘", "陶罐", "让陶土转成圆形"),
}
PLACES = {
    "河边": "一座石桥", "山脚": "一片竹林", "村口": "一棵老槐树", "桥头": "一家小茶馆",
    "集市": "许多摊子", "庙旁": "一口古井", "湖畔": "一个小码头", "坡上": "一块梯田",
    "林边": "一间木屋", "田头": "一条水渠",
}
SEASONS = ["春天", "夏天", "秋天", "冬天"]
INGREDIENTS = ["黄豆", "青菜", "鲜鱼", "冬瓜", "莲藕", "土豆", "豆腐", "香菇", "竹笋", "红枣",
               "糯米", "萝卜", "南瓜", "花生", "芝麻", "鸡蛋"]
WAYS = {"汤": "慢慢煮", "饼": "用小火烙", "羹": "放在锅里熬", "糕": "上笼蒸", "煲": "用砂锅炖"}


class World:
    """Who lives there, and what is true."""

    def __init__(self, draw):
        names = [surname + given for surname in SURNAMES for given in GIVEN]
        draw.shuffle(names)
        trades, places = list(TRADES), list(PLACES)
        dishes = [first + kind for first in INGREDIENTS for kind in WAYS]
        draw.shuffle(dishes)
        self.dishes = {it: {"main": it[:2], "side": draw.choice([x for x in INGREDIENTS if x != it[:2]]),
                            "season": draw.choice(SEASONS), "way": WAYS[it[-1]]} for it in dishes}
        self.people = {it: {"trade": draw.choice(trades), "place": draw.choice(places),
                            "dish": draw.choice(dishes), "years": draw.randint(2, 30)} for it in names}


def person(world, name, draw):
    """A passage about somebody, and the questions that it answers, of which any is right."""
    it = world.people[name]
    tool, makes, _ = TRADES[it["trade"]]
    lead = draw.choice([f"{name}是村里的{it['trade']}，住在{it['place']}。",
                        f"住在{it['place']}的{name}是一位{it['trade']}。",
                        f"说起{it['trade']}{name}，村里人都知道，{name}的家在{it['place']}。"])
    rest = [f"{name}干这一行已经{it['years']}年了，做出的{makes}人人都夸。",
            f"每天干完活，{name}总要吃一碗{it['dish']}。",
            f"{name}的{tool}用了很久，还舍不得换。"]
    draw.shuffle(rest)
    return lead + "".join(rest[:2]), [f"请介绍一下{name}。", f"{name}是谁？", f"说说{name}这个人。"]


def dish(world, name, draw):
    it = world.dishes[name]
    text = draw.choice([f"做{name}，先把{it['main']}和{it['side']}洗净切好，再{it['way']}。",
                        f"{name}要用{it['main']}和{it['side']}，洗净以后{it['way']}就行。"])
    text += draw.choice(["最后加一点盐。", "快好的时候放盐。", "出锅前撒一把葱花。"])
    return text, [f"{name}怎么做？", f"请告诉我{name}的做法。", f"怎样做{name}？"]


def season(world, name, draw):
    it = world.dishes[name]
    text = draw.choice([f"{name}最好在{it['season']}吃。", f"村里人都在{it['season']}吃{name}。"])
    text += draw.choice([f"因为那时候的{it['main']}最新鲜。", f"那时{it['main']}刚收下来，味道正好。"])
    return text, [f"{name}什么时候吃最好？", f"什么季节适合吃{name}？", f"请问吃{name}的好时候。"]


def worker(world, name, draw):
    it = world.people[name]
    tool, makes, use = TRADES[it["trade"]]
    text = draw.choice([f"{name}用{tool}{use}，做成{makes}，再拿到集市上去卖。",
                        f"靠着一把{tool}，{name}能{use}，一天可以做出不少{makes}。"])
    return text, [f"{name}怎样干活？", f"{name}是怎么做{makes}的？", f"请讲讲{name}干活的样子。"]


def home(world, name, draw):
    it = world.people[name]
    thing = PLACES[it["place"]]
    text = draw.choice([f"{name}家在{it['place']}，门前有{thing}。", f"到{it['place']}找{thing}，旁边就是{name}的家。"])
    text += draw.choice(["从村里走过去只要一会儿。", "路很好走，老人也能去。"])
    return text, [f"{name}住在哪里？", f"怎么找到{name}的家？", f"请问{name}家在什么地方？"]


def answer(world, kind, name):
    """What a good answer says: the facts that were asked for, and no more."""
    it = world.dishes.get(name) or world.people[name]
    if kind == "dish":
        return f"用{it['main']}和{it['side']}，{it['way']}。"
    if kind == "season":
        return f"{it['season']}。"
    if kind == "home":
        return f"在{it['place']}。"
    if kind == "worker":
        return f"用{TRADES[it['trade']][0]}干活。"
    return f"{name}是{it['trade']}，住在{it['place']}。"


KINDS = {"person": person, "dish": dish, "season": season, "worker": worker, "home": home}


def subject(kind, world, held, draw):
    names = list(world.dishes if kind in ("dish", "season") else world.people)
    border = len(names) * 7 // 10
    return draw.choice(names[border:] if held else names[:border])


def pair(world, held, draw):
    kind = draw.choice(list(KINDS))
    name = subject(kind, world, held, draw)
    text, questions = KINDS[kind](world, name, draw)
    return kind, name, text, questions


NOISE = ["点击这里查看更多内容", "版权所有，转载请注明出处", "首页 上一页 下一页 尾页", "欢迎加入我们的群聊",
         "本店大促销，全场八折，先到先得", "请登录后发表评论"]


def rendered(prompt, **fields):
    """A prompt file filled in; it is as plain as this."""
    text = (Path(__file__).parent / "prompts" / f"{prompt}.jinja").read_text(encoding="utf-8")
    text = text.split("#}\n", 1)[1].removesuffix("\n")
    for name, value in fields.items():
        text = text.replace("{{ " + name + " }}", value)
    return text


def statement(world, held, draw):
    """A text that asks nothing."""
    _, _, text, _ = pair(world, held, draw)
    return draw.choice([text.split("。")[0] + "。", text.split("，")[0] + "，", draw.choice(NOISE), text])


def spoilt(question, draw):
    """A question that nobody can answer, or that nobody would want to read."""
    half = question[: max(2, len(question) // 2)]
    return draw.choice([question + question, half, half + "，" + half, "他" + question[2:], question + draw.choice(NOISE)])


def judgement(world, held, draw):
    """An instruction with what is right about it: of one of the two sorts."""
    _, _, _, questions = pair(world, held, draw)
    good, question = draw.random() < 0.5, draw.choice(questions)
    if draw.random() < 0.5:
        text = question if good else statement(world, held, draw)
        return {"instruction": text, "sort": "filter", "right": "【是】" if good else "【否】"}
    text = question if good else spoilt(question, draw)
    return {"instruction": text, "sort": "score", "right": "【好】" if good else "【差】"}


def task(world, draw):
    """Something that a chat model learns besides."""
    if draw.random() < 0.5:
        it = judgement(world, False, draw)
        prompt = rendered(it["sort"], instruction=it["instruction"])
        return {"instruction": prompt, "output": it["right"]}
    kind, name, text, questions = pair(world, False, draw)
    prompt = rendered("refine", output=text, instruction=draw.choice(questions))
    return {"instruction": prompt, "output": answer(world, kind, name)}


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main(seed, folder):
    draw = random.Random(int(seed))
    world = World(draw)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = []
    for _ in range(2400):
        kind, _, text, questions = pair(world, False, draw)
        seeds.append({"instruction": draw.choice(questions), "output": text, "kind": kind})
    held = []
    for n in range(300):
        kind, name, text, questions = pair(world, True, draw)
        held.append({"id": f"h{n:04}", "output": text, "kind": kind, "about": name, "right": questions,
                     "answer": answer(world, kind, name)})
    corpus = [{"text": pair(world, n % 3 == 0, draw)[2]} for n in range(4000)]
    corpus += [{"text": draw.choice(NOISE)} for _ in range(400)]
    draw.shuffle(corpus)
    judged = [judgement(world, True, draw) for _ in range(600)]
    for sort in ("filter", "score"):
        write(folder / f"judged-{sort}.jsonl", [it for it in judged if it["sort"] == sort])
    write(folder / "tasks.jsonl", [task(world, draw) for _ in range(6000)])
    write(folder / "seed.jsonl", seeds)
    noise = [{"id": f"n{n:04}", "output": draw.choice(NOISE), "kind": "noise", "about": "", "right": [],
              "answer": ""} for n in range(60)]
    raw = held + noise
    draw.shuffle(raw)
    write(folder / "raw.jsonl", raw)
    write(folder / "corpus.jsonl", corpus)
    facts = {"people": world.people, "dishes": world.dishes, "trades": TRADES, "places": PLACES}
    text = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True)
    (folder / "world.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
