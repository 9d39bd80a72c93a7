"""Our arithmetic beside PyTorch's and candle's: one table with ratios.

    python peers.py --ours target/release/examples/bench [--candle .../candle-peer] [--only train]

Needs torch and transformers (../oracle/requirements.txt). Every measurement is a process of its own,
ours and theirs in turn, several times over; the table has the fastest round of each and the least
processor time of a round. On a busy machine only the latter means anything, and only with
`--threads 1`: the threads of torch wait for one another by spinning.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = {
    "A": dict(hidden_size=256, num_hidden_layers=4, intermediate_size=688),
    "B": dict(hidden_size=512, num_hidden_layers=8, intermediate_size=1408),
}
VOCAB, PROMPT, NEW, LENGTH = 4096, 32, 128, 256


def prompts(batch, length):
    """The ids that the other programs use too."""
    import torch

    ids = [(i * 7919 + 17) % (VOCAB - 3) + 3 for i in range(batch * length)]
    return torch.tensor(ids).reshape(batch, length)


def make_models(folder):
    """The two models as folders with fixed weights, in the spelling that all three programs read."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    for name, shape in MODELS.items():
        torch.manual_seed(1)
        config = LlamaConfig(
            **shape, vocab_size=VOCAB, num_attention_heads=8, num_key_value_heads=2,
            max_position_embeddings=4096, rms_norm_eps=1e-6, tie_word_embeddings=False,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
        LlamaForCausalLM(config).save_pretrained(folder / name)
        path = folder / name / "config.json"
        fields = json.loads(path.read_text())
        fields["rope_theta"] = fields.pop("rope_parameters")["rope_theta"]
        path.write_text(json.dumps(fields))


class Torch:
    """What a child process does: one kind of work with torch."""

    def __init__(self, threads, rounds):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.rounds = torch, rounds

    def timed(self, work, round_):
        round_()
        before, wall = time.process_time(), []
        for _ in range(self.rounds):
            start = time.perf_counter()
            round_()
            wall.append(time.perf_counter() - start)
        print(json.dumps({"work": work, "wall": wall, "processor": time.process_time() - before}))

    def load(self, folder):
        from transformers import LlamaForCausalLM

        return LlamaForCausalLM.from_pretrained(folder, dtype=self.torch.float32)

    def models(self, folder):
        import transformers

        make_models(Path(folder))
        print(f"Python {platform.python_version()}, torch {self.torch.__version__}, transformers "
              f"{transformers.__version__}")

    def gemm(self, dtype, n):
        torch, n = self.torch, int(n)
        kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        a, b = (torch.rand(n, n).sub(0.5).to(kind) for _ in range(2))
        self.timed(2 * n**3, lambda: a @ b.T)

    def forward(self, folder, batch):
        model, ids = self.load(folder).eval(), prompts(int(batch), LENGTH)
        with self.torch.inference_mode():
            self.timed(ids.numel(), lambda: model(ids, use_cache=False).logits)

    def generate(self, folder, batch):
        model, ids = self.load(folder).eval(), prompts(int(batch), PROMPT)
        mask = self.torch.ones_like(ids)
        with self.torch.inference_mode():
            self.timed(ids.shape[0] * NEW, lambda: model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW,
                min_new_tokens=NEW, pad_token_id=0))

    def first_token(self, folder):
        model, ids = self.load(folder).eval(), prompts(1, PROMPT)
        model.generate(ids, attention_mask=self.torch.ones_like(ids), do_sample=False,
                       max_new_tokens=1, pad_token_id=0)
        print(json.dumps({"work": 1}))

    def train(self, folder, batch):
        torch = self.torch
        model, ids = self.load(folder).train(), prompts(int(batch), LENGTH)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95),
                                      weight_decay=0.1)

        def step():
            optimizer.zero_grad()
            model(ids, labels=ids, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        self.timed(ids.numel(), step)


def measured(command, environment):
    """The child's line, with the wall time and the memory of its whole life."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, **environment})
    out, complaint = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    life = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"{command}: {complaint}")
    line = json.loads(out.strip().splitlines()[-1])
    return {**line, "life": life, "memory": usage.ru_maxrss * 1024,
            "life_processor": usage.ru_utime + usage.ru_stime}


def commands(arguments, what, words, threads, rounds):
    """The command lines that do this work, by whose it is."""
    settings = ["--threads", str(threads), "--rounds", str(rounds)]
    child = [sys.executable, __file__, "--child", *settings, what, *words]
    all_ = {"ours": [arguments.ours, *settings, what, *words],
            "torch": child}
    if arguments.candle and what in ("forward", "generate", "first-token"):
        all_["candle"] = [arguments.candle, words[0], what, *(words[1:] or ["1"])]
    return all_


def fastest(arguments, what, words, threads, rounds):
    """Everybody's best of several turns."""
    environment = {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    best = {}
    for _ in range(arguments.turns):
        for who, command in commands(arguments, what, words, threads, rounds).items():
            got = measured(command, environment)
            if what == "first-token":  # From the start of the process to its end.
                got |= {"wall": [got["life"]], "processor": got["life_processor"]}
            one = {"wall": min(got["wall"]),
                   "processor": got["processor"] / max(len(got["wall"]), 1),
                   "memory": got["memory"], "work": got["work"]}
            old = best.setdefault(who, one)
            best[who] = {**{key: min(old[key], one[key]) for key in one}, "work": one["work"]}
    return best


def rows(folder, n):
    """What is measured: title, kind, words, threads, rounds, unit."""
    for dtype in ("f32", "bf16"):
        yield f"GEMM {dtype} 2048³, one thread", "gemm", [dtype, "2048"], 1, 5, "GFLOP/s"
    for name in MODELS:
        path = str(folder / name)
        yield f"training step {name}, 16 × 256", "train", [path, "16"], n, 4, "tok/s"
        yield f"forward {name}, 16 × 256", "forward", [path, "16"], n, 5, "tok/s"
        for batch in ("1", "16"):
            yield f"generate {name}, batch {batch}", "generate", [path, batch], n, 5, "tok/s"
        yield f"load and first token of {name}", "first-token", [path], n, 1, "s"


def show(title, unit, best):
    """One line for each peer: our figure, theirs, and how many times better ours is."""
    ours = best["ours"]

    def rate(it, time_):
        scale = 1e-9 if unit == "GFLOP/s" else 1.0
        return it[time_] if unit == "s" else it["work"] * scale / max(it[time_], 1e-9)

    for who, it in best.items():
        if who == "ours":
            continue
        cells = [title, who]
        for key in ("wall", "processor"):
            mine, theirs = rate(ours, key), rate(it, key)
            ratio = theirs / mine if unit == "s" else mine / theirs
            cells += [f"{mine:,.3g}" if unit == "s" else f"{mine:,.0f}",
                      f"{theirs:,.3g}" if unit == "s" else f"{theirs:,.0f}", f"**{ratio:.2f}×**"]
        cells += [f"{ours['memory'] / 2**20:,.0f}", f"{it['memory'] / 2**20:,.0f}",
                  f"{ours['memory'] / it['memory']:.2f}×"]
        print("| " + " | ".join([cells[0], unit, *cells[1:]]) + " |", flush=True)


def show_versions(arguments, libraries):
    with open("/proc/cpuinfo") as file:
        processor = next((it.split(":")[1].strip() for it in file if "model name" in it), "?")
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout
    print(f"{processor}, {arguments.threads} of {os.cpu_count()} threads, Linux {platform.release()}; {libraries}, "
          f"candle 0.11.1 with gemm's x86-v4, {compiler.strip()}; load {os.getloadavg()[0]:.1f}; "
          f"the best of {arguments.turns} turns.\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours")
    parser.add_argument("--candle")
    parser.add_argument("--only", default="", help="kinds of work, with commas")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("what", nargs="*")
    arguments = parser.parse_args()
    if arguments.child:
        what, *words = arguments.what
        getattr(Torch(arguments.threads, arguments.rounds), what.replace("-", "_"))(*words)
        return
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: the memory of this one would count as its children's.
        command = [sys.executable, __file__, "--child", "models", folder]
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        show_versions(arguments, made.splitlines()[-1])
        print("| what | unit | peer | ours, wall | theirs | | ours, processor | theirs | |"
              " our MiB | theirs | |")
        print("|" + "---|" * 12)
        only = arguments.only.split(",") if arguments.only else None
        for title, what, words, threads, rounds, unit in rows(Path(folder), arguments.threads):
            if only is None or what in only:
                show(title, unit, fastest(arguments, what, words, threads, rounds))


if __name__ == "__main__":
    main()
