"""`expected.safetensors` of every model: logits, hidden states, loss and gradients of one batch."""

import torch
from safetensors.torch import save_file

from models import FIXTURES, SHAPES, load, seed_of


def batch_of(name, rows, length):
    """Ids without structure, and labels of which some are ignored (-100), also at the borders."""
    random = torch.Generator().manual_seed(seed_of(name) + 1)
    vocab = SHAPES[name]["vocab_size"]
    ids = torch.randint(0, vocab, (rows, length), generator=random)
    labels = ids.clone()
    labels[0, :9] = -100  # A prompt.
    labels[-1, -5:] = -100  # Padding.
    labels[torch.rand(rows, length, generator=random) < 0.1] = -100
    return ids, labels


def gradients(model):
    return {f"grad/{name}": it.grad.clone().contiguous() for name, it in model.named_parameters()}


def write_expected(name):
    model = load(name)
    rows, length = {"gqa": (2, 45), "mha": (2, 37)}.get(name, (2, 19))
    ids, labels = batch_of(name, rows, length)
    out = model(ids, labels=labels, output_hidden_states=True)
    out.loss.backward()
    kept = {
        "input_ids": ids.int(),
        "labels": labels.int(),
        "logits": out.logits.detach(),
        "loss": out.loss.detach().reshape(1),
    }
    for i, hidden in enumerate(out.hidden_states):
        kept[f"hidden/{i}"] = hidden.detach().contiguous()
    kept.update(gradients(model))
    save_file(kept, FIXTURES / name / "expected.safetensors")
    print(f"{name}: loss {out.loss.item():.4f}, logits of size {out.logits.abs().mean():.2f}")
