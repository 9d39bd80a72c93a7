"""Tiny random Llama folders, as `transformers` saves them, and how they are loaded again.

Every tensor is drawn from a seed that is a function of the folder's name. Weights are larger than a
fresh model's, and norm gains differ from one, so that a mistake anywhere moves the logits.
"""

import json
import zlib
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

FIXTURES = Path(__file__).parent / "fixtures"

SHAPES = {
    # Odd everywhere, one key/value head for each query head, the old spelling of theta.
    "mha": dict(vocab_size=71, hidden_size=40, intermediate_size=53, num_hidden_layers=2,
                num_attention_heads=5, num_key_value_heads=5, rope=5_000_000.0, eps=1e-5),
    # The one that training, generation and scoring use.
    "gqa": dict(vocab_size=96, hidden_size=64, intermediate_size=72, num_hidden_layers=2,
                num_attention_heads=8, num_key_value_heads=2, rope=10_000.0, eps=1e-6),
    "tied": dict(vocab_size=83, hidden_size=48, intermediate_size=64, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2, rope=10_000.0, eps=1e-5,
                 tie_word_embeddings=True),
    # Weights are bf16 in the file; what is expected was computed in f32 from them.
    "bf16": dict(vocab_size=88, hidden_size=48, intermediate_size=56, num_hidden_layers=2,
                 num_attention_heads=6, num_key_value_heads=1, rope=5_000_000.0, eps=1e-6),
    "sharded": dict(vocab_size=67, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                    num_attention_heads=4, num_key_value_heads=2, rope=1_000_000.0, eps=1e-6),
}


def seed_of(name):
    return zlib.crc32(name.encode())


def fresh(name):
    shape = dict(SHAPES[name])
    theta, eps = shape.pop("rope"), shape.pop("eps")
    config = LlamaConfig(
        **shape, rms_norm_eps=eps, max_position_embeddings=256, hidden_act="silu",
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.15,
    )
    torch.manual_seed(seed_of(name))
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(0.2 * torch.randn_like(weight))
            elif "embed_tokens" in key:
                weight.mul_(1.5 if model.config.tie_word_embeddings else 4.0)
    return model


def old_spelling(folder):
    """Writes the config as `transformers` 4 did."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"], config["rope_scaling"] = rope["rope_theta"], None
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.44.2"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_folder(name):
    folder = FIXTURES / name
    folder.mkdir(parents=True, exist_ok=True)
    model = fresh(name)
    if name == "bf16":
        model = model.to(torch.bfloat16)
    model.save_pretrained(folder, **({"max_shard_size": "48KB"} if name == "sharded" else {}))
    if name == "mha":
        old_spelling(folder)


def load(name):
    torch.set_num_threads(1)
    model = LlamaForCausalLM.from_pretrained(
        FIXTURES / name, dtype=torch.float32, attn_implementation="eager"
    )
    return model.train()  # There is no dropout: training and evaluation mode are the same.
