#!/usr/bin/env python3
"""Looks at a report in headless Chromium: both themes, desktop and phone, no console error, nothing wider than the
screen, and every text with a contrast of at least 4.5 to what is behind it.

    python3 tests/browser/report.py --bin target/debug [--keep FOLDER]

A workflow with an output of every sort that reports know is run first. The page as it is written is opened for the
console; a copy without its policy, with a script in it, measures. Where there is no Chromium it says so and
ends well, unless KUN_REQUIRE_BROWSER is set.
"""

import argparse
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LEAST_CONTRAST = 4.5
WIDTHS = {"desktop": 1280, "phone": 390}
# What Blink calls them.
THEMES = {"dark": 0, "light": 1}

MEASURE = """
<script>
function rgb(text) {
  const m = text.match(/[\\d.]+/g).map(Number);
  return { c: m.slice(0, 3), a: m.length > 3 ? m[3] : 1 };
}
function luminance(c) {
  const [r, g, b] = c.map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(element) {
  for (let it = element; it; it = it.parentElement) {
    const found = rgb(getComputedStyle(it).backgroundColor);
    if (found.a === 1) return found.c;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
}
// What is behind a text of a chart: the last rectangle drawn before it that its middle lies on.
function under(text) {
  const at = text.getBoundingClientRect(), x = at.x + at.width / 2, y = at.y + at.height / 2;
  let ground = behind(text);
  for (const it of text.ownerSVGElement.querySelectorAll("rect, text")) {
    if (it === text) break;
    const box = it.getBoundingClientRect(), inside = box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
    if (it.tagName !== "rect" || !inside) continue;
    const style = getComputedStyle(it), a = Number(style.fillOpacity);
    ground = rgb(style.fill).c.map((v, i) => v * a + ground[i] * (1 - a));
  }
  return ground;
}
window.addEventListener("load", () => {
  document.querySelectorAll("details").forEach(it => it.open = true);
  const found = { texts: 0, low: [], width: innerWidth, wide: document.documentElement.scrollWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.nodeValue.trim(), of = walker.currentNode.parentElement;
    if (!text || ["SCRIPT", "STYLE", "TITLE", "title", "style"].includes(of.tagName)) continue;
    const style = getComputedStyle(of), svg = of instanceof SVGElement;
    const a = luminance(rgb(svg ? style.fill : style.color).c), b = luminance(svg ? under(of) : behind(of));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.texts += 1;
    if (contrast < LEAST) found.low.push([text.slice(0, 40), of.tagName, Math.round(contrast * 100) / 100]);
  }
  const out = document.createElement("pre");
  out.id = "measured";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>
""".replace("LEAST", str(LEAST_CONTRAST))


def lines(*records):
    return "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in records)


def ledger():
    rows = []
    for i in range(200):
        keep, length = i % 3 > 0, i * 7 % 100
        fails = [] if keep else ["length"]
        rows.append({"id": str(i), "source": ["悟道", "web"][i % 2], "keep": keep, "first": (fails or [None])[0],
                     "fails": fails, "values": {"length": length}})
    return lines(*rows)


def share(group, name, n, right, low, high):
    return {"group": group, "name": name, "n": n, "right": right, "share": right / n, "low": low, "high": high}


MODELS = ["kun-52k", "kun-52k-coig-one-38k", "belle-52k", "mix_lite", "ol-cc-10k", "coig-38k", "kun-9k"]


def rating(group, question, choice, right):
    return {"by": "person", "judge": None, "question": question, "choice": choice,
            **share(group, f"{question} {choice}", 9, right, 0.2, 0.9)}


def won(group, name, part):
    wins, ties = min(round(50 * part), 50), 10
    return {"by": "person", "judge": None, "group": group, "name": name, "n": 60, "wins": wins, "losses": max(50 - wins, 0), "ties": ties,
            "share": wins / 50, "low": 0.1, "high": 0.9, "adjusted": (wins + ties / 2) / 60}


# An output of every sort, as the kinds write them.
OUTPUTS = {
    "exam": lines(share(None, "before", 40, 10, 0.14, 0.4), share(None, "after", 40, 30, 0.6, 0.86),
                  share("law", "before", 20, 5, 0.1, 0.5), share("law", "after", 20, 15, 0.5, 0.9)),
    "pairs": lines({"group": None, "first": "before", "second": "after", "n": 40, "only_first": 1, "only_second": 21,
                    "difference": 0.5, "low": 0.3, "high": 0.7, "p": 0.00001}),
    "subjects": lines({"subject": "law", "name": "法学", "groups": ["other"], "n": 20, "right": 15, "unclear": 0,
                       "accuracy": 0.75, "low": 0.5, "high": 0.9}),
    "numbers": json.dumps({"accuracy": 0.5, "accuracy_low": 0.2, "accuracy_high": 0.8, "n": 9}),
    "clean": ledger(),
    "final": lines(*({"step": i, "steps": 90, "loss": 4 / (1 + i / 20), "learning_rate": 0.1} for i in range(1, 91))),
    "lengths": lines(*({"of": "instruction", "from": i * 20, "below": i * 20 + 20, "n": 50 - i} for i in range(12)),
                     {"of": "instruction", "from": 240, "below": None, "n": 7}),
    "years": lines(*({"of": "year", "from": y, "below": y + 1, "n": y - 2000} for y in range(2005, 2024))),
    "sources": lines({"of": "source", "value": "悟道", "n": 3, "share": 0.75},
                     {"of": "source", "value": "(none)", "n": 1, "share": 0.25}),
    "quality": lines(*(rating(group, question, choice, right) for group in [None, "悟道", "web"]
                       for question, choice, right in [("clarity", "yes", 8), ("clarity", "no", 1), ("output", "excellent", 5),
                                                       ("output", "pass", 3), ("output", "fail", 1)])),
    "agreed": lines(*({"by": "person", "judge": None, "group": group, "name": name, "n": 3, "share": 0.6, "low": 0.2, "high": 0.9,
                       "all_same": 0.6, "some_same": 0.3, "all_different": 0.1, "kappa": 0.5, "alpha": 0.4,
                       "alpha_low": 0.1, "alpha_high": 0.7} for group in [None, "悟道"] for name in ["clarity", "output"])),
    "wins": lines(*(won(None, it, 0.5 + i / 9) for i, it in enumerate(MODELS)),
                  *(won(a, b, (i - j) / 12 + 0.5) for i, a in enumerate(MODELS) for j, b in enumerate(MODELS) if a != b)),
    "ranking": lines(*({"by": "person", "judge": None, "place": i + 1, "model": it, "votes": 60, "strength": 1.0 - i, "low": -i,
                        "high": 2.0 - i} for i, it in enumerate(MODELS))),
    "annotators": lines({"annotator": "ana", "by": "person", "adjudicator": False, "asked": 9, "votes": 9, "skips": 0,
                         "median_ms": 4200, "as_most_others": 0.9, "as_before": None, "repeats": 0, "left": 0.6, "left_low": 0.3,
                         "left_high": 0.8, "longer": None, "longer_low": None, "longer_high": None, "ties": 0.1, "decided": 8}),
    "judges": lines({"by": "model", "judge": "chat", "question": "better", "votes": 5, "n": 5, "same": 1, "as_most": 0.2,
                     "low": 0.03, "high": 0.62, "kappa": -0.1}),
    "leaning": json.dumps({"pairs": 5, "skipped": 0, "consistent": 0.2, "consistent_low": 0.1, "consistent_high": 0.4,
                           "first": 0.9, "first_both": 0.8, "second_both": 0.0}),
    "prompt": "{#\nid: filter\ninputs: instruction\n#}\n是吗？{{ instruction }}\n",
    "polished": lines({"id": "a", "text": "雨后的河水很急。点击这里" * 20, "instruction": "河水怎样？", "output": "河水很急。"}),
}


def make(kun, folder, language):
    for name, text in OUTPUTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    inputs = json.dumps(list(OUTPUTS))
    # Differences stand with the shares of their name.
    names = json.dumps(["exam" if it == "pairs" else it for it in OUTPUTS])
    (folder / "workflow.toml").write_text(
        f"[workflow]\nname = \"looks\"\nformat = 1\n\n[steps.page]\nop = \"report\"\nin = {{ data = {inputs} }}\n"
        f"with = {{ title = \"结果 & results\", about = \"What is it good for?\", names = {names}, language = \"{language}\" }}\n")
    subprocess.run([kun, "run", "-q"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    pages = list((folder / "out").glob("page*/**/index.html"))
    assert len(pages) == 1, f"the page is not where it should be: {pages}"
    return pages[0]


def chromium(binary, page, theme, width, arguments):
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [binary, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
             f"--user-data-dir={profile}", f"--window-size={width},1000",
             f"--blink-settings=preferredColorScheme={THEMES[theme]}", *arguments, page.as_uri()],
            capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [it for it in done.stderr.splitlines() if "CONSOLE" in it]
    return done.stdout, said


def measured(binary, page, theme, width, folder):
    """The page with a script in it, in a frame: a window has a least width, a frame has none."""
    text = page.read_text(encoding="utf-8")
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert policy.search(text), "the page has no policy"
    inner = policy.sub("", text).replace("</body>", MEASURE + "</body>")
    frame = folder / f"frame-{theme}-{width}.html"
    frame.write_text(
        f'<!doctype html><meta charset="utf-8"><body style="margin:0"><iframe id="f" style="border:0;width:{width}px;'
        f'height:1000px" srcdoc="{html.escape(inner)}"></iframe><script>addEventListener("load", () => {{'
        'const it = document.createElement("pre"); it.id = "result";'
        'it.textContent = document.getElementById("f").contentDocument.getElementById("measured").textContent;'
        'document.body.append(it); });</script>', encoding="utf-8")
    dom, said = chromium(binary, frame, theme, max(width, 800), ["--dump-dom"])
    assert not said, said
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.S)
    assert found, "nothing was measured"
    return json.loads(html.unescape(found.group(1)))


def look(binary, page, folder):
    wrong = []
    for theme in THEMES:
        for name, width in WIDTHS.items():
            shot = folder / f"{theme}-{name}.png"
            _, said = chromium(binary, page, theme, width, [f"--screenshot={shot}"])
            it = measured(binary, page, theme, width, folder)
            if said:
                wrong.append(f"{theme}, {name}: the console says {said}")
            if it["dark"] != (theme == "dark") or it["width"] != width:
                wrong.append(f"{theme}, {name}: was shown as {it['width']} px, dark {it['dark']}")
            if it["wide"] > it["width"]:
                wrong.append(f"{theme}, {name}: {it['wide']} px wide on a screen of {it['width']}")
            if it["texts"] < 100:
                wrong.append(f"{theme}, {name}: only {it['texts']} texts")
            for text, tag, contrast in it["low"][:10]:
                wrong.append(f"{theme}, {name}: <{tag}> `{text}` has a contrast of {contrast}")
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="target/debug", help="the folder of the binary")
    parser.add_argument("--keep", help="the folder for pages and screenshots")
    arguments = parser.parse_args()
    binary = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if binary is None:
        print("skipped: there is no Chromium")
        return 1 if os.environ.get("KUN_REQUIRE_BROWSER") else 0
    kun = str(Path(arguments.bin, "kun").resolve())
    with tempfile.TemporaryDirectory() as there:
        folder = Path(arguments.keep or there)
        wrong = []
        for language in ["en", "zh"]:
            project = folder / language
            project.mkdir(parents=True, exist_ok=True)
            wrong += [f"{language}: {it}" for it in look(binary, make(kun, project, language), project)]
    print("\n".join(wrong) or "both languages, both themes, both widths: good")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
