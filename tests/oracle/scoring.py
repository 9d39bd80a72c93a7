"""How likely a text is, with the model `gqa`: per token, after a prompt, as one of several choices, and
as OpenCompass scores it."""

import json

import torch

from models import FIXTURES, SHAPES, load

FOLDER = FIXTURES / "gqa"
VOCAB = SHAPES["gqa"]["vocab_size"]


def ids_of(random, length):
    return torch.randint(0, VOCAB, (length,), generator=random).tolist()


def losses(model, ids):
    """Minus the log-probability of each id but the first, given all before it."""
    rows = model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    return [-rows[i, token].item() for i, token in enumerate(ids[1:])]


def text_case(model, prompt, text):
    nll = losses(model, prompt + text)[max(len(prompt) - 1, 0):]
    mean = sum(nll) / len(nll) if nll else None
    perplexity = None if mean is None else float(torch.tensor(mean).double().exp())
    return {"prompt": prompt, "text": text, "nll": nll, "mean": mean, "perplexity": perplexity}


@torch.no_grad()
def write_scores():
    model = load("gqa")
    random = torch.Generator().manual_seed(14)
    texts = [text_case(model, ids_of(random, n_prompt), ids_of(random, n_text))
             for n_prompt, n_text in
             [(0, 1), (0, 2), (0, 31), (0, 33), (0, 100), (1, 1), (5, 7), (32, 1), (40, 64), (64, 32)]]
    choices = []
    for n_prompt, lengths in [(1, [1, 1]), (12, [1, 1, 1, 1]), (33, [3, 1, 5, 2]), (64, [2, 40, 7])]:
        prompt = ids_of(random, n_prompt)
        candidates = [ids_of(random, it) for it in lengths]
        if n_prompt == 33:  # Two candidates with the same beginning.
            candidates[3] = candidates[0][:2]
        sums = [-sum(losses(model, prompt + it)[n_prompt - 1:]) for it in candidates]
        choices.append({"prompt": prompt, "candidates": candidates, "log_probabilities": sums})
    compass = []
    for length in [2, 17, 90]:
        ids = ids_of(random, length)
        # The sum over all targets is divided by the number of tokens, not of targets.
        compass.append({"ids": ids, "score": sum(losses(model, ids)) / length})
    (FOLDER / "score.json").write_text(json.dumps(
        {"texts": texts, "choices": choices, "opencompass": compass}) + "\n")
    print(f"scored: {len(texts)} texts, {len(choices)} prompts with choices")
