"""A page that follows a run, in a real browser: it changes by itself, what a reader opened stays open, and it says
when nobody serves it any more.

    python3 tests/browser/live.py --bin target/debug [--shots FOLDER]
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import chromium

MANIFEST = """[workflow]
name = "live"
desc = "Does the page follow?"
format = 1

[steps.exam]
run = ["sh", "-c", 'echo "{{\\"accuracy\\":0.5}}" > "$1"', "sh", "${{out.m}}"]
out = {{ m = "metrics" }}

[steps.losses]
run = ["cp", "{folder}/log.jsonl", "${{out.log}}"]
out = {{ log = "records" }}

[steps.late]
run = ["sh", "-c", 'until [ -e {folder}/go ]; do sleep 0.05; done; echo "{{\\"accuracy\\":0.75}}" > "$1"', "sh", "${{out.m}}"]
out = {{ m = "metrics" }}
"""
RESULTS = "document.getElementById('results').innerText"
NOW = "document.getElementById('now').innerText"


def follow(browser, kun, folder, shots):
    (folder / "workflow.toml").write_text(MANIFEST.format(folder=folder))
    log = [{"step": i, "loss": 3 / i, "learning_rate": 0.1} for i in range(1, 20)]
    (folder / "log.jsonl").write_text("".join(json.dumps(it) + "\n" for it in log))
    server = subprocess.Popen([kun, "report", "--serve"], cwd=folder, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    run = None
    try:
        page = browser.page(server.stdout.readline().strip())
        page.until("document.getElementById('now')?.innerText.includes('There is no run yet.')")
        run = subprocess.Popen([kun, "run", "-q"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        page.until(f"{NOW}.includes('running; 2 / 3 steps')")
        page.until(f"{RESULTS}.includes('0.5000') && !{RESULTS}.includes('0.7500')")
        page.run("document.querySelector('details').open = true; scrollTo(0, 200)")
        if shots:
            page.shot(shots / "live.png")
        (folder / "go").write_text("")
        page.until(f"{NOW}.includes('done; 3 / 3 steps') && {RESULTS}.includes('0.7500')")
        assert page.run("document.querySelector('details').open"), "what was opened is closed"
        assert page.run("scrollY") == 200, "the page jumped"
        assert run.wait(timeout=20) == 0
        assert page.run("document.getElementById('lost').hidden")
        bad = browser.complaints()
        assert not bad, bad
        server.kill()
        page.until("!document.getElementById('lost').hidden")
    finally:
        (folder / "go").write_text("")
        server.kill()
        server.wait()
        server.stdout.close()
        if run:
            run.wait(timeout=20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="target/debug", help="the folder of the binary")
    parser.add_argument("--shots", type=pathlib.Path, help="the folder for screenshots")
    arguments = parser.parse_args()
    program = chromium.find()
    if program is None:
        print("skipped: there is no Chromium")
        return 1 if os.environ.get("KUN_REQUIRE_BROWSER") else 0
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    browser = chromium.Browser(program)
    try:
        with tempfile.TemporaryDirectory() as folder:
            kun = str(pathlib.Path(arguments.bin, "kun").resolve())
            follow(browser, kun, pathlib.Path(folder).resolve(), arguments.shots)
    finally:
        browser.close()
    print("the page follows the run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
