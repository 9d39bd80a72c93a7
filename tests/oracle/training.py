"""What training must give, all of it with the model `gqa`: packed rows, accumulated gradients,
parameters after AdamW steps, and a curve of 60 steps."""

import json

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import get_cosine_schedule_with_warmup

from forward import gradients
from models import FIXTURES, SHAPES, load

FOLDER = FIXTURES / "gqa"
VOCAB = SHAPES["gqa"]["vocab_size"]
OPTIMIZER = dict(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
CLIP = 1.0


def formula(step, rows, length):
    """Row r of step s begins with (31 s + 17 r + 5) mod V; after x at place t comes
    (5 x + 3 + t mod 3) mod V."""
    batch = []
    for row in range(rows):
        ids = [(31 * step + 17 * row + 5) % VOCAB]
        for t in range(length - 1):
            ids.append((5 * ids[-1] + 3 + t % 3) % VOCAB)
        batch.append(ids)
    return torch.tensor(batch)


def summed_loss(logits, labels):
    """The sum over all targets; the target of place t is the label of place t + 1."""
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(),
                         ignore_index=-100, reduction="sum")


def n_targets(labels):
    return int((labels[:, 1:] != -100).sum())


def write_packed():
    """Several sequences in one row: positions begin again, no attention across, and the last place
    of a sequence has no target (the label of a sequence's first token is -100)."""
    model = load("gqa")
    lengths = [7, 1, 33, 12, 20]
    random = torch.Generator().manual_seed(7)
    ids = torch.randint(0, VOCAB, (1, sum(lengths)), generator=random)
    labels, positions, sequence = ids.clone(), [], []
    start = 0
    for i, length in enumerate(lengths):
        labels[0, start] = -100
        positions += range(length)
        sequence += [i] * length
        start += length
    labels[0, 10:20] = -100
    sequence = torch.tensor(sequence)
    allowed = (sequence[:, None] == sequence[None, :]).tril()
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    logits = model(ids, attention_mask=mask[None, None],
                   position_ids=torch.tensor([positions])).logits
    start = 0
    for length in lengths:  # The same as each sequence alone, or the mask is wrong.
        alone = model(ids[:, start:start + length]).logits
        assert torch.allclose(alone, logits[:, start:start + length], atol=2e-5)
        start += length
    loss = summed_loss(logits, labels) / n_targets(labels)
    loss.backward()
    save_file({
        "input_ids": ids.int(), "labels": labels.int(), "logits": logits.detach(),
        "lengths": torch.tensor(lengths, dtype=torch.int32),
        "position_ids": torch.tensor([positions], dtype=torch.int32),
        "loss": loss.detach().reshape(1), **gradients(model),
    }, FOLDER / "packed.safetensors")
    print(f"packed: loss {loss.item():.4f}")


def write_accumulated():
    """Four rows with very different numbers of targets, one at a time, each normalised by the
    targets of all: the sum is the gradient of the mean over all targets."""
    model = load("gqa")
    ids = formula(1000, 4, 24)
    labels = ids.clone()
    for row, first in enumerate([0, 20, 23, 8]):
        labels[row, :first] = -100
    total = n_targets(labels)
    loss = 0.0
    for row in range(4):
        part = summed_loss(model(ids[row:row + 1]).logits, labels[row:row + 1]) / total
        part.backward()
        loss += part.item()
    save_file({
        "input_ids": ids.int(), "labels": labels.int(),
        "loss": torch.tensor([loss]), **gradients(model),
    }, FOLDER / "accumulated.safetensors")
    print(f"accumulated: loss {loss:.4f}")


def optimizer_of(model, lr):
    matrices = [it for it in model.parameters() if it.ndim == 2]
    vectors = [it for it in model.parameters() if it.ndim == 1]
    settings = dict(OPTIMIZER, lr=lr)
    return torch.optim.AdamW([
        {"params": matrices},
        {"params": vectors, "weight_decay": 0.0},
    ], **settings)


def step(model, optimizer, ids):
    optimizer.zero_grad()
    loss = summed_loss(model(ids).logits, ids) / n_targets(ids)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    optimizer.step()
    return loss.item(), norm.item()


def write_steps():
    """Parameters after one and after three steps; decay on matrices (embeddings are matrices)."""
    model = load("gqa")
    optimizer = optimizer_of(model, OPTIMIZER["lr"])
    kept, losses, norms = {}, [], []
    for i in range(3):
        loss, norm = step(model, optimizer, formula(i, 4, 24))
        losses.append(loss)
        norms.append(norm)
        if i in (0, 2):
            for name, it in model.named_parameters():
                kept[f"step{i + 1}/{name}"] = it.detach().clone()
    kept["losses"] = torch.tensor(losses)
    kept["grad_norms"] = torch.tensor(norms)
    save_file(kept, FOLDER / "steps.safetensors")
    print(f"steps: losses {losses}, norms {norms}")


def write_curve():
    model = load("gqa")
    peak, warmup, steps, rows, length = 3e-3, 6, 60, 8, 32
    optimizer = optimizer_of(model, peak)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, steps)
    rates, losses, norms = [], [], []
    for i in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        loss, norm = step(model, optimizer, formula(i, rows, length))
        schedule.step()
        losses.append(loss)
        norms.append(norm)
    (FOLDER / "curve.json").write_text(json.dumps({
        "batches": " ".join(formula.__doc__.split()),
        "rows": rows, "length": length, "vocab": VOCAB,
        "optimizer": dict(OPTIMIZER, lr=peak), "max_grad_norm": CLIP,
        "schedule": "cosine to zero after linear warm-up from zero",
        "warmup_steps": warmup, "steps": steps,
        "learning_rates": rates, "losses": losses, "grad_norms": norms,
    }, indent=1) + "\n")
    print(f"curve: {losses[0]:.4f} → {losses[19]:.4f} → {losses[-1]:.4f}, norms {norms[0]:.2f} {norms[-1]:.2f}")
