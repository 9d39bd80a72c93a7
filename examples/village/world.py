"""A small closed world in Chinese: who lives there, what is true, and what can be written about it.

A *fact* is a kind of question with what it is about, such as ("home", "王芳"). Each kind has passages
that state its fact among others, questions that such a passage answers, one more way to ask that
is kept back for tests, and the answer: what was asked for, and no more.
"""

import random

NOW = 2024
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

    def about(self, kind):
        """All that a kind of question can be about."""
        return list(self.dishes if kind in ("dish", "season") else self.people)

    def values(self, fact):
        """What is true of it, by name."""
        values = self.dishes.get(fact[1]) or self.people[fact[1]]
        return values | {"tool": TRADES[values["trade"]][0]} if "trade" in values else values

    def answer(self, fact):
        return KINDS[fact[0]].answer.format(**self.values(fact))

    def states(self, fact):
        """The words without which nothing answers it."""
        return [self.values(fact)[it] for it in KINDS[fact[0]].states]

    def facts(self, held):
        """All facts about what pairs and tasks speak of, or about what none of them does."""
        facts = []
        for kind in KINDS:
            names = self.about(kind)
            border = len(names) * 7 // 10
            facts += [(kind, it) for it in (names[border:] if held else names[:border])]
        return facts


def person(world, name, draw):
    it = world.people[name]
    tool, makes, _ = TRADES[it["trade"]]
    lead = draw.choice([f"{name}是村里的{it['trade']}，住在{it['place']}。",
                        f"住在{it['place']}的{name}是一位{it['trade']}。",
                        f"说起{it['trade']}{name}，村里人都知道，{name}的家在{it['place']}。"])
    rest = [f"{name}从{NOW - it['years']}年开始干这一行，做出的{makes}人人都夸。",
            f"每天干完活，{name}总要吃一碗{it['dish']}。",
            f"{name}的{tool}用了很久，还舍不得换。"]
    draw.shuffle(rest)
    return lead + "".join(rest[:2])


def dish(world, name, draw):
    it = world.dishes[name]
    text = draw.choice([f"做{name}，先把{it['main']}和{it['side']}洗净切好，再{it['way']}。",
                        f"{name}要用{it['main']}和{it['side']}，洗净以后{it['way']}就行。"])
    return text + draw.choice(["最后加一点盐。", "快好的时候放盐。", "出锅前撒一把葱花。"])


def season(world, name, draw):
    it = world.dishes[name]
    text = draw.choice([f"{name}最好在{it['season']}吃。", f"村里人都在{it['season']}吃{name}。"])
    return text + draw.choice([f"因为那时候的{it['main']}最新鲜。", f"那时{it['main']}刚收下来，味道正好。"])


def worker(world, name, draw):
    tool, makes, use = TRADES[world.people[name]["trade"]]
    return draw.choice([f"{name}用{tool}{use}，做成{makes}，再拿到集市上去卖。",
                        f"靠着一把{tool}，{name}能{use}，一天可以做出不少{makes}。"])


def home(world, name, draw):
    place = world.people[name]["place"]
    text = draw.choice([f"{name}家在{place}，门前有{PLACES[place]}。",
                        f"到{place}找{PLACES[place]}，旁边就是{name}的家。"])
    return text + draw.choice(["从村里走过去只要一会儿。", "路很好走，老人也能去。"])


def meal(world, name, draw):
    it = world.people[name]
    text = draw.choice([f"{name}最爱吃的是{it['dish']}，一顿能吃两碗。",
                        f"一到吃饭的时候，{name}就想着{it['dish']}。"])
    return text + draw.choice(["家里人天天都给做。", "连邻居也学会了做法。", "过年的时候更少不了。"])


class Kind:
    """A kind of question: its passages, ways to ask, answer, what an answer must state, and its topic."""

    def __init__(self, passage, questions, kept_back, answer, states, topic):
        self.passage, self.questions, self.kept_back, self.answer = passage, questions, kept_back, answer
        self.states, self.topic = states, topic


KINDS = {
    "person": Kind(person, ["请介绍一下{}。", "{}是谁？", "说说{}这个人。"], "{}是什么人？", "是住在{place}的{trade}。",
                   ["place", "trade"], "人物"),
    "dish": Kind(dish, ["{}怎么做？", "请告诉我{}的做法。", "怎样做{}？"], "想做{}，该怎么办？", "用{main}和{side}，{way}。",
                 ["main", "side", "way"], "做菜"),
    "season": Kind(season, ["{}什么时候吃最好？", "什么季节适合吃{}？", "请问吃{}的好时候。"], "{}在哪个季节吃好？",
                   "{season}吃。", ["season"], "时令"),
    "worker": Kind(worker, ["{}怎样干活？", "{}干活用什么？", "请讲讲{}干活的样子。"], "{}靠什么干活？", "用{tool}干活。",
                   ["tool"], "手艺"),
    "home": Kind(home, ["{}住在哪里？", "怎么找到{}的家？", "请问{}家在什么地方？"], "{}家住哪儿？", "在{place}。", ["place"],
                 "住处"),
    "meal": Kind(meal, ["{}爱吃什么？", "{}最喜欢哪道菜？", "请问{}喜欢吃什么。"], "什么菜最合{}的口味？", "爱吃{dish}。",
                 ["dish"], "口味"),
}


def form(question):
    """Whether a question asks or requests."""
    return "问句" if question.endswith("？") else "请求"


class Passage:
    """A text about a fact, with what is right to ask and to answer about it."""

    def __init__(self, world, fact, draw):
        self.kind, self.about = fact
        kind = KINDS[self.kind]
        self.text = kind.passage(world, self.about, draw)
        self.questions = [it.format(self.about) for it in kind.questions]
        self.kept_back = kind.kept_back.format(self.about)
        self.answer = world.answer(fact)

    def without_name(self):
        """The same about somebody whose name is not said: no question about it can be answered."""
        text = self.text.replace(self.about, "那个")
        return text, [it.replace(self.about, "那个") for it in self.questions]


def scenery(draw):
    """A text that answers nothing, and its title."""
    place, time = draw.choice(list(PLACES)), draw.choice(["清晨", "傍晚", "中午", "夜里"])
    sky = draw.choice(["雾慢慢散开", "天上没有云", "风轻轻地吹", "月亮照着水面", "雨下了一会儿"])
    sound = draw.choice(["只听见几声鸟叫", "四周一点声音也没有", "远处有狗在叫", "孩子们都回家了"])
    text = draw.choice([f"{time}的{place}很安静，{sky}，{sound}。", f"{time}，{place}的{PLACES[place]}旁边没有人，{sky}，{sound}。"])
    return text, f"{place}的{time}"


def distractors(world, fact, draw, n):
    """Wrong answers of the same kind."""
    kind, _ = fact
    right = world.answer(fact)
    wrong = sorted({world.answer((kind, it)) for it in world.about(kind)} - {right})
    return draw.sample(wrong, n)


def new(seed):
    """The world of a seed, and what draws from it."""
    draw = random.Random(int(seed))
    return World(draw), draw
