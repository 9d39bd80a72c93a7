"""Three people judge data in a real browser: by keyboard, with reloads, two windows, a killed server, and a phone.

Nothing may be lost and nothing may be shown twice. Needs Chromium; says aloud where it is missing, and fails where
KUN_REQUIRE_BROWSER is set. Screenshots lie in the folder given by --shots.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import chromium

EVIL = "<img src=x onerror=\"document.title='broken'\"></script><script>document.title='broken'</script>"
PEOPLE = ["ana", "bo", "chen"]
WHERE = "document.querySelector('.where').textContent"
TEXTS = "[...document.querySelectorAll('.card .text')].map((it) => it.textContent).join('|')"


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Study:
    def __init__(self, kun, folder, name, arguments):
        self.kun, self.file, self.port = kun, folder / name, free_port()
        self.start(arguments)

    def start(self, arguments=()):
        self.process = subprocess.Popen(
            [self.kun, "annotate", str(self.file), "--json", "--bind", f"127.0.0.1:{self.port}", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.links = json.loads(self.process.stdout.readline())["links"]

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def lines(self):
        lines = [json.loads(it) for it in self.file.read_text().splitlines()]
        return [it for it in lines if it["line"] == "did"]


def records(path, n, text):
    made = [{"instruction": f"第 {i} 个问题 {EVIL if i == 0 else ''}", "output": text.format(i)} for i in range(n)]
    path.write_text("".join(json.dumps(it, ensure_ascii=False) + "\n" for it in made))
    return path


def ready(page, name, done):
    page.until(f"document.querySelector('.where') && {WHERE}.startsWith('{name} · {done} /')")


def rate(page, name, done, keys="1113"):
    ready(page, name, done)
    seen = page.run(TEXTS)
    for key in keys:
        page.key(key)
    page.key("Enter")
    ready(page, name, done + 1)
    return seen


def quality(browser, kun, folder, shots):
    """Rating: three people, 8 items each of 3, a quarter of them twice."""
    study = Study(kun, folder, "quality.jsonl", [
        "--from", f"hidden-source={records(folder / 'a.jsonl', 8, '答案 {}')}", "--annotators", ",".join(PEOPLE),
        "--repeats", "0.25"])
    pages = {name: browser.page(study.links[name]) for name in PEOPLE}
    seen = {name: [rate(pages[name], name, 0)] for name in PEOPLE}

    # A reload in the middle of an item keeps what was chosen, and the item.
    ana = pages["ana"]
    before = ana.run(TEXTS)
    ana.key("2")
    ana.until("document.querySelectorAll('[aria-pressed=true]').length === 1")
    ana.shot(shots / "quality.png")
    ana.ask("Page.reload")
    ana.until("document.querySelectorAll('[aria-pressed=true]').length === 1")
    assert ana.run(TEXTS) == before
    seen["ana"].append(rate(ana, "ana", 1, "2111"))

    # Two windows: the one that lags is shown where it is, and its vote is not taken.
    other = browser.page(study.links["ana"])
    ready(other, "ana", 2)
    seen["ana"].append(rate(ana, "ana", 2))
    for key in ["1", "1", "1", "1", "Enter"]:
        other.key(key)
    ready(other, "ana", 3)
    other.until("document.querySelector('.said').textContent !== ''")
    assert sum(it["annotator"] == "ana" for it in study.lines()) == 3

    # The server is killed: nothing is taken, the answers stay, and it goes on when the server is back.
    bo = pages["bo"]
    ready(bo, "bo", 1)
    study.kill()
    shown = bo.run(TEXTS)
    for key in ["1", "1", "1", "2", "Enter"]:
        bo.key(key)
    bo.until("document.querySelector('.said').textContent.includes('cannot be reached')")
    assert bo.run("document.querySelectorAll('[aria-pressed=true]').length") == 4
    study.start()
    bo.key("Enter")
    ready(bo, "bo", 2)
    seen["bo"].append(shown)

    # Undo, a note, and a skip.
    bo.key("u")
    ready(bo, "bo", 1)
    assert bo.run(TEXTS) == shown and bo.run("document.querySelectorAll('[aria-pressed=true]').length") == 4
    rate(bo, "bo", 1, "")
    chen = pages["chen"]
    ready(chen, "chen", 1)
    seen["chen"].append(chen.run(TEXTS))
    chen.key("n")
    chen.until("document.activeElement.id === 'note-text'")
    for key in "1s":
        chen.key(key)
    chen.key("Escape")
    chen.key("s")
    ready(chen, "chen", 2)
    assert [it["note"] for it in study.lines() if it.get("note")] == ["1s"]

    for name in PEOPLE:
        for done in range(len(seen[name]), 10):
            seen[name].append(rate(pages[name], name, done))
        pages[name].until("document.getElementById('done')")
        # Each item once, and two of them a second time.
        assert len(set(seen[name])) == 8 and len(seen[name]) == 10, seen[name]
        assert any(EVIL in it for it in seen[name]) and pages[name].run("document.title") != "broken"
    said = [it for it in study.lines() if it["did"] == "said"]
    assert len(said) == 31 and sum(it["did"] == "undo" for it in study.lines()) == 1
    study.kill()


def replaced(browser, kun, folder, shots):
    """The study's file is replaced while it is served: the page says so and keeps what was chosen."""
    study = Study(kun, folder, "replaced.jsonl", [
        "--from", f"s={records(folder / 'r.jsonl', 5, '答案 {}')}", "--annotators", "ana", "--repeats", "0"])
    page = browser.page(study.links["ana"])
    rate(page, "ana", 0)
    old = study.file.read_bytes()
    rate(page, "ana", 1)
    copy = folder / "copy"
    copy.write_bytes(old)
    copy.replace(study.file)
    ready(page, "ana", 2)
    shown = page.run(TEXTS)
    for key in ["1", "1", "1", "2", "Enter"]:
        page.key(key)
    page.until("document.querySelector('.stopped')")
    page.until("document.querySelector('.said').textContent.includes('Not counted yet')")
    assert page.run(TEXTS) == shown and page.run("document.querySelectorAll('[aria-pressed=true]').length") == 4
    page.shot(shots / "stopped.png")
    page.key("l")
    page.until("document.querySelector('.stopped').textContent.includes('暂不计入')")
    page.shot(shots / "stopped-zh.png")
    page.key("l")
    study.kill()
    subprocess.run([kun, "annotate", str(study.file), "--recover", "-q"], check=True)
    study.start()
    page.key("Enter")
    ready(page, "ana", 3)
    page.until("!document.querySelector('.stopped')")
    assert len(study.lines()) == 3
    study.kill()


def pairs(browser, kun, folder, shots):
    """Comparison on a phone, in Chinese, with guidelines."""
    sources = []
    for model in ["secret-model-a", "secret-model-b"]:
        path = records(folder / model, 3, "回答 {} " + "很长的文字，" * (20 + len(sources)))
        sources += ["--from", f"{model}={path}"]
    study = Study(kun, folder, "pairs.jsonl", [
        *sources, "--form", "pairwise-ties", "--annotators", "ana", "--repeats", "0"])
    page = browser.page(study.links["ana"], width=390, height=844, phone=True)
    ready(page, "ana", 0)
    page.key("l")
    page.until("document.documentElement.lang === 'zh-CN'")
    page.key("g")
    page.until("document.querySelector('dialog[open]')")
    page.shot(shots / "guidelines-phone.png")
    page.run("document.querySelector('dialog button').click()")
    page.until("!document.querySelector('dialog')")
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the phone"
    page.shot(shots / "pairs-phone.png")
    page.run("document.querySelector('[data-choice=tie]').click()")
    ready(page, "ana", 1)
    page.key("1")
    ready(page, "ana", 2)
    assert "secret" not in page.run("document.documentElement.outerHTML")
    page.key("2")
    page.until("document.getElementById('done')")
    assert [it["answers"]["better"] for it in study.lines()] == ["tie", "left", "right"]
    study.kill()


def far_away(browser, kun, folder):
    """One file out, one file back."""
    study = folder / "far.jsonl"
    source = records(folder / "f.jsonl", 3, "{}")
    arguments = ["--from", f"s={source}", "--annotators", "ana", "--repeats", "0", "--bundle", str(folder / "pages")]
    subprocess.run([kun, "annotate", str(study), "-q", *arguments], check=True, stdout=subprocess.DEVNULL)
    page = browser.page((folder / "pages/ana.html").as_uri())
    for done in range(3):
        rate(page, "ana", done)
        page.ask("Page.reload")
    page.until("document.getElementById('done')")
    page.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.key("w")
    page.until("document.querySelector('.said').textContent !== ''")
    back = folder / "answers-ana.json"
    for _ in range(200):
        if back.exists():
            break
        page.run("new Promise((done) => setTimeout(done, 25))")
    for want in ["3 new, 0 known", "0 new, 3 known"]:
        it = subprocess.run([kun, "annotate", str(study), "--take", str(back)], capture_output=True, text=True, check=True)
        assert want in it.stderr, it.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", default="target/debug", help="the folder with the binary")
    parser.add_argument("--shots", default="target/screenshots", help="the folder for screenshots")
    asked = parser.parse_args()
    program = chromium.find()
    if program is None:
        print("skipped: no Chromium on this machine")
        return 1 if os.environ.get("KUN_REQUIRE_BROWSER") else 0
    kun, shots = str(pathlib.Path(asked.bin, "kun").resolve()), pathlib.Path(asked.shots)
    shots.mkdir(parents=True, exist_ok=True)
    browser = chromium.Browser(program)
    try:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            quality(browser, kun, folder, shots)
            replaced(browser, kun, folder, shots)
            pairs(browser, kun, folder, shots)
            far_away(browser, kun, folder)
        # A refused vote and a server that is away are said by the browser as well.
        known = ["409 (Conflict)", "503 (Service Unavailable)", "net::ERR_CONNECTION_REFUSED"]
        bad = [it for it in browser.complaints() if not any(word in str(it) for word in known)]
        assert not bad, bad
    finally:
        browser.close()
    print("three people, a reload, two windows, a killed server, a replaced file,"
          " a phone, and a file from far away: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
