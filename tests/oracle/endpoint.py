"""Asks a real server through `kun`: `transformers serve` with a tiny model that `kun` made, and compares its
greedy answers with those that `kun` computes from the same folder. What is asked twice, what is asked again
after a kill and what the server cannot do is looked at as well.

    pip install fastapi uvicorn openai rich   # beside requirements.txt
    python endpoint.py PATH/TO/kun
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

N = 12
MANIFEST = """
[workflow]
name = "endpoint"
seed = 7

[models]
served = {{ endpoint = "http://127.0.0.1:{port}/v1", model = "{model}", concurrency = 2 }}

[steps.words]
op   = "tokenizer"
in   = {{ data = "texts.jsonl" }}
with = {{ vocab_size = 520 }}

[steps.fresh]
op   = "init"
in   = {{ tokenizer = "${{steps.words.tokenizer}}" }}
with = {{ hidden_size = 64, num_hidden_layers = 2, num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 128, max_position_embeddings = 256 }}

[steps.here]
op   = "generate"
in   = {{ model = "${{steps.fresh.model}}", data = "records.jsonl" }}
with = {{ max_new_tokens = 12, template = "yi-chatml" }}

[steps.there]
op   = "generate"
in   = {{ model = "${{models.served}}", data = "records.jsonl" }}
with = {{ max_new_tokens = 12 }}

[steps.judged]
op   = "judge"
in   = {{ model = "${{models.served}}", data = "records.jsonl" }}
with = {{ choices = ["yes", "no"], template = "yi-chatml" }}
"""


def kun(binary, place, *args, want=0):
    end = subprocess.run([binary, *args], cwd=place, capture_output=True, text=True)
    assert end.returncode == want, f"kun {args}: {end.returncode}\n{end.stderr}"
    return end.stderr


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def serve(model, port, log):
    code = "import sys; from transformers.cli.serve import Serve; Serve(sys.argv[1], device='cpu', host='127.0.0.1', port=int(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(model), str(port)], stdout=log, stderr=log)
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return process
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server does not come")


def main():
    binary = str(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        place, port = Path(folder), free_port()
        texts = [{"text": f"the rain of day {i} falls on the hill; 今天下雨 {i}"} for i in range(200)]
        (place / "texts.jsonl").write_text("".join(json.dumps(it, ensure_ascii=False) + "\n" for it in texts))
        records = [{"prompt": f"what falls on day {i}?"} for i in range(N)]
        (place / "records.jsonl").write_text("".join(json.dumps(it) + "\n" for it in records))
        model = place / "served"
        (place / "workflow.toml").write_text(MANIFEST.format(port=port, model=model))
        kun(binary, place, "run", "fresh", "here")
        # `init` gives no template; the server needs one.
        out = place / "out" / "fresh" / "model"
        model.mkdir()
        for it in out.iterdir():
            (model / it.name).write_bytes(it.read_bytes())
        (model / "chat_template.jinja").write_text(
            "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
        with open(place / "server.log", "w+") as log:
            server = serve(model, port, log)
            try:
                compare(binary, place)
            except AssertionError:
                print(Path(log.name).read_text()[-3000:])
                raise
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(30)
        said = kun(binary, place, "run", "there")
        print("with the server gone, what is known is known:", said.strip().splitlines()[-1])


def compare(binary, place):
    kun(binary, place, "run", "there")
    here = lines(place / "out" / "here" / "data.jsonl")
    there = lines(place / "out" / "there" / "data.jsonl")
    same = sum(a["generated"].strip() == b["generated"].strip() for a, b in zip(here, there))
    for a, b in zip(here[:3], there[:3]):
        print("here ", json.dumps(a, ensure_ascii=False))
        print("there", json.dumps(b, ensure_ascii=False))
    print(f"{same} of {N} answers are equal")
    assert same == N
    assert all(a["generated_prompt_tokens"] == b["generated_prompt_tokens"] for a, b in zip(here, there))
    said = kun(binary, place, "run", "judged", want=1)
    print(next(line for line in said.splitlines() if "log-probabilities" in line).strip())


if __name__ == "__main__":
    os.environ["PYTHONUNBUFFERED"] = "1"
    main()
