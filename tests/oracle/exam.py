"""What a tiny model answers in a small exam, computed as OpenCompass and lm-evaluation-harness compute
it: by `transformers`, each text alone and as a whole, from prompts that are put together here as the
golden ones of OpenCompass are. `fixtures/exam` gets the model's weights, the exam's files and the answers.

    python exam.py
"""

import csv
import json
import random
import shutil

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from models import FIXTURES, seed_of

FOLDER = FIXTURES / "exam"
LETTERS = "ABCD"
SUBJECTS = [("rain", "气象"), ("law", "法律")]
WORDS = ["雨", "river", "今天", "rose", "the", "书", "12", "天气", "a b", "？", "法", "水", "kind", "年", "x=1"]


def model_folder():
    folder = FOLDER / "model"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = FIXTURES / "text" / "made"
    config = LlamaConfig(
        vocab_size=560, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-6, max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, initializer_range=0.3)
    torch.manual_seed(seed_of("exam"))
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(tokenizer / name, folder / name)
    return model, AutoTokenizer.from_pretrained(folder)


def exam():
    draw, sheets = random.Random(5), {}
    text = lambda n: "".join(draw.choice(WORDS) for _ in range(n))
    for key, zh in SUBJECTS:
        for split, n in (("dev", 5), ("val", 12)):
            rows = [[i, text(draw.randint(2, 9)), *(text(draw.randint(1, 3)) for _ in LETTERS), draw.choice(LETTERS)]
                    for i in range(n)]
            sheets[key, split] = rows
            path = FOLDER / "exam" / split / f"{key}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as file:
                out = csv.writer(file, lineterminator="\n")
                out.writerows([["id", "question", *LETTERS, "answer"], *rows])
    table = [{"key": key, "zh": zh, "categories": ["all"]} for key, zh in SUBJECTS]
    (FOLDER / "exam" / "subjects.json").write_text(json.dumps(table, ensure_ascii=False) + "\n", encoding="utf-8")
    return sheets


def words(shape, zh, row):
    _, question, a, b, c, d, _ = row
    options = f"A. {a}\nB. {b}\nC. {c}\nD. {d}"
    if shape == "ceval":
        return f"以下是中国关于{zh}考试的单项选择题，请选出其中的正确答案。\n{question}\n{options}\n答案: ", ""
    return f"以下是关于{zh}的单项选择题，请直接给出正确答案的选项。\n题目：{question}\n{options}", "答案是: "


def compared(shape, chat, zh, shots, row, letter):
    """A whole text for comparing losses."""
    human, bot = words(shape, zh, row)
    if chat:
        turn = lambda h, b: f"<|im_start|>user\n{h}<|im_end|>\n<|im_start|>assistant\n{b}<|im_end|>\n"
        shown = "".join(turn(words(shape, zh, it)[0], bot + it[-1]) + "\n" for it in shots)
        return shown + "\n" + turn(human, bot + letter)
    shown = "".join(f"{words(shape, zh, it)[0]}\n{bot}{it[-1]}\n\n\n" for it in shots)
    return f"{shown}\n\n{human}\n{bot}{letter}"


def begun(shape, chat, zh, shots, row):
    human, bot = words(shape, zh, row)
    if chat:
        turn = lambda h, b: f"<|im_start|>user\n{h}<|im_end|>\n<|im_start|>assistant\n{b}<|im_end|>\n"
        shown = "".join(turn(words(shape, zh, it)[0], bot + it[-1]) for it in shots)
        return f"{shown}<|im_start|>user\n{human}<|im_end|>\n<|im_start|>assistant\n"
    shown = "".join(f"{words(shape, zh, it)[0]}\n{bot}{it[-1]}\n" for it in shots)
    return f"{shown}{human}" + (f"\n{bot}" if bot else "")


def harness(shape, zh, shots, row):
    asked = lambda it: f"{it[1].strip()}\nA. {it[2]}\nB. {it[3]}\nC. {it[4]}\nD. {it[5]}\n答案："
    head = {"ceval": f"以下是中国关于{zh}的单项选择题，请选出其中的正确答案。\n\n",
            "cmmlu": f"以下是关于{zh}的单项选择题，请直接给出正确答案的选项。\n\n"}[shape]
    return head + "".join(f"{asked(it)} {it[-1]}\n\n" for it in shots) + asked(row)


@torch.no_grad()
def losses(model, ids):
    logits = model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    return [-logits[i, token].item() for i, token in enumerate(ids[1:])]


@torch.no_grad()
def written(model, tokenizer, text, stop):
    ids = tokenizer(text, add_special_tokens=False).input_ids[-(2048 - 24):]
    out = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=24, eos_token_id=stop, pad_token_id=0)
    return tokenizer.decode(out[0, len(ids):], skip_special_tokens=True)


def answers(model, tokenizer, sheets, shape):
    ids = lambda text: tokenizer(text, add_special_tokens=False).input_ids
    for key, zh in SUBJECTS:
        shots = sheets[key, "dev"]
        for n, row in enumerate(sheets[key, "val"]):
            out = {"id": f"{key}/{n + 1}"}
            for chat, name in ((False, "base"), (True, "chat")):
                wholes = [ids(compared(shape, chat, zh, shots, row, it)) for it in LETTERS]
                out[f"ppl_{name}"] = [sum(losses(model, it)) / len(it) for it in wholes]
                out[f"gen_{name}"] = written(model, tokenizer, begun(shape, chat, zh, shots, row), [2, 7] if chat else 2)
            before = ids(harness(shape, zh, shots, row))
            ends = [ids(f"{harness(shape, zh, shots, row)} {it}") for it in LETTERS]
            out["lm_eval"] = [sum(losses(model, it)[len(before) - 1:]) for it in ends]
            yield out


def main():
    model, tokenizer = model_folder()
    sheets = exam()
    found = {shape: list(answers(model, tokenizer, sheets, shape)) for shape in ("ceval", "cmmlu")}
    (FOLDER / "answers.json").write_text(json.dumps(found, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
