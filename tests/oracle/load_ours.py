"""Loads with `transformers` the models that `kernels` saved, compares the loss that each side finds
for the same batch, does a training step and saves the model again.

    cargo run --release -p kernels --example models_for_transformers -- FOLDER
    venv/bin/python load_ours.py FOLDER
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from training import formula, n_targets, summed_loss


def check(folder, want):
    config = AutoConfig.from_pretrained(folder)
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True)
    model = model.float()  # The numbers of a file in half precision, exactly.
    odd = {name: value for name, value in report.items() if value}
    assert not odd, f"{folder.name}: {odd}"
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [2, 7]
    assert config.vocab_size == 96 and config.num_key_value_heads == 2
    ids = formula(7, 4, 24)
    loss = summed_loss(model(ids).logits, ids) / n_targets(ids)
    assert abs(loss.item() - want) < 1e-5, f"{folder.name}: {loss.item()} and not {want}"
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss.backward()
    optimizer.step()
    after = (summed_loss(model(ids).logits, ids) / n_targets(ids)).item()
    assert after < want, f"{folder.name}: a step does not help"
    model.save_pretrained(folder.with_name(folder.name + ".again"))
    print(f"{folder.name:8} loss {loss.item():.6f}, ours {want:.6f}, after a step {after:.6f}")


def check_adapters(folder, want):
    """The base with its adapters beside it, by PEFT, where that is installed."""
    try:
        from peft import PeftModel
    except ImportError:
        print("adapters: PEFT is not installed")
        return
    base = AutoModelForCausalLM.from_pretrained(folder / "base").float()
    model = PeftModel.from_pretrained(base, folder / "adapters")
    ids = formula(7, 4, 24)
    loss = (summed_loss(model(ids).logits, ids) / n_targets(ids)).item()
    assert abs(loss - want) < 1e-5, f"adapters: {loss} and not {want}"
    print(f"adapters loss {loss:.6f}, ours merged {want:.6f}")


def main():
    folder = Path(sys.argv[1])
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    for name, want in json.loads((folder / "losses.json").read_text()).items():
        check(folder / name, want)
        if name == "lora":
            check_adapters(folder, want)


main()
