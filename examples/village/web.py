"""The world's texts as they lie on the web: pages in the shapes of three corpora, with what such pages have
besides: navigation, adverts, telephone numbers, repeats, passages that were copied and changed a little,
full-width letters, rows that are broken, a file in an old encoding.
"""

import json

from world import Passage, scenery

NAVIGATION = ["首页 上一页 下一页 尾页", "首页 > 村里的事 > 正文", "版权所有，转载请注明出处", "请登录后发表评论"]
ADVERTS = ["点击这里查看更多内容", "欢迎加入我们的群聊", "本店大促销，全场八折，先到先得", "关注我们，每天有好礼"]
GREETINGS = ["大家好，又见面了。", "小编今天来说一说。", "网友们都在问这个。"]
FULL_WIDTH = {ord(it): ord(it) - 0x20 + 0xFF00 for it in "0123456789"}


def dirty(text, draw):
    """A passage with what does not belong to it: before it, or behind."""
    if draw.random() < 0.4:
        return draw.choice(GREETINGS) + text
    return text + draw.choice(ADVERTS) + draw.choice(["。", "！"])


def copied(text, draw):
    """A passage as somebody else put it up again."""
    return draw.choice([text, text, text.removesuffix("。") + "！", text + "。"])


class Pages:
    """Passages of all sorts, and what is true of each, found by its text."""

    def __init__(self, world, facts, draw):
        self.draw, self.truth, self.passages = draw, {}, []
        for fact in facts:
            passage = Passage(world, fact, draw)
            soiled = draw.random() < 0.4
            self.add(passage, dirty(passage.text, draw) if soiled else passage.text, "dirty" if soiled else "clean")
        for _ in range(len(facts) // 8):
            text, title = scenery(draw)
            self.put(text, {"sort": "scenery", "right": [title]})
        for fact in draw.sample(facts, len(facts) // 10):
            text, questions = Passage(world, fact, draw).without_name()
            self.put(text, {"sort": "nameless", "right": questions})
        for text in draw.sample(self.passages, len(self.passages) // 8):
            again = copied(text, draw)
            self.put(again, self.truth[text])
        draw.shuffle(self.passages)

    def add(self, passage, text, sort):
        self.put(text, {"sort": sort, "right": passage.questions})

    def put(self, text, truth):
        self.truth.setdefault(text, truth)
        self.passages.append(text)

    def page(self, texts):
        """A page of some passages, each under a line that begins it."""
        draw, lines = self.draw, [self.draw.choice(NAVIGATION)]
        for text in texts:
            shown = text.translate(FULL_WIDTH) if draw.random() < 0.2 else text
            shown = shown.replace("，", "， ") if draw.random() < 0.1 else shown
            lines += ["", "【正文】", shown]
        if draw.random() < 0.3:
            lines += ["", "【联系】", f"有事请打电话1{draw.randint(3, 9)}{draw.randint(0, 999999999):09}，找村里的人问一问。"]
        return lines + ["", "【页尾】", draw.choice(ADVERTS)]

    def write(self, folders):
        """Three corpora, and in the third a file that is older."""
        draw, rest, pages = self.draw, list(self.passages), []
        while rest:
            n = draw.randint(1, 4)
            pages.append("\n".join(self.page(rest[:n])))
            rest = rest[n:]
        third = len(pages) // 3
        wudao = [{"uniqueKey": f"w{n}", "dataType": "百科", "title": "", "content": it} for n, it in enumerate(pages[:third])]
        wanjuan = [{"id": f"j{n}", "content": it} for n, it in enumerate(pages[third : 2 * third])]
        skypile = [{"text": it} for it in pages[2 * third :]]
        half = len(skypile) // 2
        put(folders["wudao"] / "part-0.json", (json.dumps(wudao, ensure_ascii=False, indent=0) + "\n").encode())
        put(folders["wanjuan"] / "part-0.jsonl", lines(wanjuan, draw, "utf-8"))
        put(folders["skypile"] / "part-0.jsonl", lines(skypile[:half], draw, "utf-8"))
        put(folders["skypile"] / "part-1.jsonl", lines(skypile[half:], draw, "gb18030"))


def lines(rows, draw, encoding):
    """JSON lines, of which about one in a hundred is broken."""
    out = b""
    for row in rows:
        line = json.dumps(row, ensure_ascii=False).encode(encoding)
        if draw.random() < 0.01:
            line = draw.choice([line[: len(line) // 2], line[:30] + b"\xff\xfe" + line[30:], b"<html>"])
        out += line + b"\n"
    return out


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def soiled(text):
    """Whether a text says what belongs to a page and to no answer."""
    return any(it.strip("。") in text for it in GREETINGS + ADVERTS + NAVIGATION)
