"""How tokens are chosen, with the model `gqa`: warpers one by one, greedy output of `generate`, and
sampled output given uniform numbers. Cases that a rounding could turn are refused when they are made.
"""

import json

import torch
from safetensors.torch import save_file
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from models import FIXTURES, SHAPES, load

FOLDER = FIXTURES / "gqa"
VOCAB = SHAPES["gqa"]["vocab_size"]
SMALLEST_GAP = 1e-3  # between the two best logits, where the best is taken
SMALLEST_MARGIN = 1e-5  # between a uniform number and the next bound


def processors_of(settings, prompt_length):
    """In the order in which `generate` puts them together."""
    list_ = LogitsProcessorList()
    if "repetition_penalty" in settings:
        list_.append(RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    if "min_new_tokens" in settings:
        list_.append(MinNewTokensLengthLogitsProcessor(
            prompt_length, settings["min_new_tokens"], settings["stop_ids"]))
    if "temperature" in settings:
        list_.append(TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        list_.append(TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        list_.append(TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        list_.append(MinPLogitsWarper(settings["min_p"]))
    return list_


def write_warpers():
    random = torch.Generator().manual_seed(11)
    all_settings = [
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.8},
        {"min_new_tokens": 5, "stop_ids": [2, 7]},
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_k": 1000},
        {"top_p": 0.9},
        {"top_p": 0.05},
        {"min_p": 0.1},
        {"temperature": 1.7, "top_k": 20, "top_p": 0.8, "min_p": 0.02},
        {"repetition_penalty": 1.1, "temperature": 0.5, "top_p": 0.95},
        {"repetition_penalty": 1.2, "min_new_tokens": 9, "stop_ids": [2], "temperature": 0.9,
         "top_k": 30, "top_p": 0.85, "min_p": 0.05},
    ]
    cases, kept = [], {}
    for i, settings in enumerate(all_settings):
        seen = torch.randint(0, VOCAB, (1, 6 + i), generator=random)
        scores = 2.0 * torch.randn(1, VOCAB, generator=random)
        kept[f"{i}/before"] = scores[0].clone()
        prompt_length = 4
        for processor in processors_of(settings, prompt_length):
            scores = processor(seen, scores)
        kept[f"{i}/after"] = scores[0].clone()
        cases.append({"settings": settings, "prompt": seen[0, :prompt_length].tolist(),
                      "output": seen[0, prompt_length:].tolist()})
    save_file(kept, FOLDER / "warpers.safetensors")
    (FOLDER / "warpers.json").write_text(json.dumps(cases, indent=1) + "\n")


def prompt_of(random, length):
    return torch.randint(3, VOCAB, (1, length), generator=random)


def greedy_gap(model, prompt, output, settings):
    """The smallest distance of the two best scores on the way."""
    gap = float("inf")
    for i in range(len(output)):
        ids = torch.cat([prompt, torch.tensor([output[:i]], dtype=torch.long)], dim=1)
        scores = processors_of(settings, prompt.shape[1])(ids, model(ids).logits[:, -1])
        best = scores.topk(2).values[0]
        gap = min(gap, (best[0] - best[1]).item())
    return gap


def log_probabilities(model, prompt, output):
    """Of the tokens of the output under the model itself, without any warper."""
    ids = torch.cat([prompt, torch.tensor([output])], dim=1)
    rows = model(ids).logits[0, prompt.shape[1] - 1:-1].double().log_softmax(-1)
    return [rows[i, token].item() for i, token in enumerate(output)]


@torch.no_grad()
def greedy_cases(model):
    random = torch.Generator().manual_seed(12)
    cases = []
    for length in [1, 2, 5, 17, 31, 32, 33, 64, 70]:
        for settings in [{}, {"repetition_penalty": 1.25}]:
            while True:
                prompt = prompt_of(random, length)
                output = model.generate(
                    prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                    max_new_tokens=40, eos_token_id=None, pad_token_id=0,
                    repetition_penalty=settings.get("repetition_penalty", 1.0),
                )[0, length:].tolist()
                if greedy_gap(model, prompt, output, settings) > SMALLEST_GAP:
                    break
            cases.append({"prompt": prompt[0].tolist(), "settings": settings,
                          "max_new_tokens": 40, "stop_ids": [], "output": output,
                          "log_probabilities": log_probabilities(model, prompt, output)})
    # With stop ids: the fifth token of an output ends it, unless it must be longer.
    for case in cases[4:6]:
        prompt, stop = torch.tensor([case["prompt"]]), case["output"][4]
        settings = {"min_new_tokens": 8, "stop_ids": [stop], **case["settings"]}
        for settings in [case["settings"], settings]:
            output = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                max_new_tokens=40, eos_token_id=[stop], pad_token_id=0,
                repetition_penalty=settings.get("repetition_penalty", 1.0),
                min_new_tokens=settings.get("min_new_tokens"),
            )[0, prompt.shape[1]:].tolist()
            assert greedy_gap(model, prompt, output, settings) > SMALLEST_GAP
            cases.append({"prompt": case["prompt"], "settings": settings, "max_new_tokens": 40,
                          "stop_ids": [stop], "output": output,
                          "log_probabilities": log_probabilities(model, prompt, output)})
    return cases


def draw(scores, uniform):
    """The smallest index whose cumulative probability, in float64, is above the uniform number."""
    bounds = scores.double().softmax(-1).cumsum(-1)
    picked = int((bounds <= uniform).sum())
    return picked, (bounds - uniform).abs().min().item()


@torch.no_grad()
def sampled_cases(model):
    random = torch.Generator().manual_seed(13)
    all_settings = [
        {"temperature": 1.0},
        {"temperature": 0.6},
        {"temperature": 1.5, "top_k": 12},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 1.2, "min_p": 0.08},
        {"temperature": 0.9, "top_k": 40, "top_p": 0.9, "min_p": 0.01,
         "repetition_penalty": 1.15},
    ]
    cases = []
    for settings in all_settings:
        while True:
            prompt, steps = prompt_of(random, 9), 48
            uniforms = torch.rand(steps, generator=random, dtype=torch.float64)
            ids, margin = prompt, float("inf")
            for uniform in uniforms:
                scores = processors_of(settings, 9)(ids, model(ids).logits[:, -1])
                picked, distance = draw(scores[0], uniform)
                margin = min(margin, distance)
                ids = torch.cat([ids, torch.tensor([[picked]])], dim=1)
            if margin > SMALLEST_MARGIN:
                break
        output = ids[0, 9:].tolist()
        cases.append({"prompt": prompt[0].tolist(), "settings": settings,
                      "uniforms": uniforms.tolist(), "output": output,
                      "log_probabilities": log_probabilities(model, prompt, output)})
    return cases


def write_generated():
    model = load("gqa")
    cases = {"greedy": greedy_cases(model), "sampled": sampled_cases(model)}
    (FOLDER / "generate.json").write_text(json.dumps(cases) + "\n")
    print(f"generated: {len(cases['greedy'])} greedy, {len(cases['sampled'])} sampled")
