"""What PyTorch, transformers and peft take for the same work as kernels/examples/gpu.rs, as lines of JSON with the
same names: peers.py [PART...], all parts where none is named. KUN_BENCH=tiny makes all of it tiny; without a
CUDA device it runs on the processor, which says nothing but that it runs."""

import gc
import json
import os
import sys
import time

import torch
import torch.nn.functional as functional

TINY = os.environ.get("KUN_BENCH") == "tiny"
HERE = "cuda" if torch.cuda.is_available() else "cpu"
ROWS = (128, 64, 24) if TINY else (8192, 2048, 512)
TOKENS, SPAN, HIDDEN, WIDE, VOCABULARY = (128, 64, 128, 96, 128) if TINY else (8192, 2048, 4096, 11008, 64000)
HEADS, KV_HEADS, DIM, LAYERS = (2, 1, 128, 2) if TINY else (32, 4, 128, 32)
TEXTS, TEXT_TOKENS, STEPS = (2, 40, 1) if TINY else (16, 512, 3)
PROMPT, NEW = (16, 4) if TINY else (512, 64)
# Of examples/gpu.rs: how long a call is repeated, to warm up and to be timed, and at least how often.
WARM_UP, TIMED, LEAST = (0.0, 0.0, 1) if TINY else (0.3, 0.2, 20)


def say(**line):
    print(json.dumps(line), flush=True)


def where_installed(what, call):
    try:
        call()
    except ImportError as missing:
        say(skipped=what, reason=str(missing))


def wait():
    if HERE == "cuda":
        torch.cuda.synchronize()


def numbers(*shape):
    return (torch.rand(*shape, device=HERE, dtype=torch.float32) * 0.2 - 0.1).to(torch.bfloat16)


def seconds_of(call, repeats):
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    wait()
    return (time.perf_counter() - start) / repeats


def timed(name, call):
    """The median time of a call: by events between calls, where there is a device."""
    call()
    wait()
    start, warm = time.perf_counter(), 0
    while time.perf_counter() - start < WARM_UP or warm < min(2, LEAST):
        call()
        warm += 1
        if warm % 16 == 0:
            wait()
    wait()
    each = (time.perf_counter() - start) / warm
    repeats = min(max(int(TIMED / max(each, 1e-6)), LEAST), 1000)
    if HERE == "cuda":
        events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
        events[0].record()
        for event in events[1:]:
            call()
            event.record()
        wait()
        seconds = sorted(a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:]))
    else:
        seconds = sorted(seconds_of(call, 1) for _ in range(repeats))
    say(name=name, seconds=seconds[len(seconds) // 2], fastest=seconds[0], repeats=repeats)


def products():
    row = (HEADS + 2 * KV_HEADS) * DIM
    shapes = [("qkv", row, HIDDEN), ("o", HIDDEN, HEADS * DIM), ("gate_up", 2 * WIDE, HIDDEN),
              ("down", HIDDEN, WIDE), ("head", VOCABULARY, HIDDEN)]
    for name, n, k in shapes:
        x, w, dy = numbers(TOKENS, k), numbers(n, k), numbers(TOKENS, n)
        timed(f"gemm {name} forward", lambda: x @ w.T)
        timed(f"gemm {name} input gradient", lambda: dy @ w)
        # PyTorch's weight gradient is bf16 and begins at zero: less work than ours.
        timed(f"gemm {name} weight gradient", lambda: dy.T @ x)
    for rows in ROWS[1:]:
        for name, n, k in shapes[:4]:
            x, w = numbers(rows, k), numbers(n, k)
            timed(f"gemm {name} forward, {rows} rows", lambda: x @ w.T)


def attention():
    attention_over(SPAN, "")
    attention_over(TOKENS, ", one sequence")


def attention_over(span, of_span):
    n = TOKENS // span
    q = numbers(n, HEADS, span, DIM).requires_grad_()
    k, v = (numbers(n, KV_HEADS, span, DIM).requires_grad_() for _ in range(2))
    d_out = numbers(n, HEADS, span, DIM)

    def forward():
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    timed(f"attention forward{of_span}", forward)
    out = forward()
    timed(f"attention backward{of_span}", lambda: torch.autograd.grad(out, (q, k, v), d_out, retain_graph=True))


def rows():
    x, gain = numbers(TOKENS, HIDDEN), numbers(HIDDEN)
    timed("rms_norm forward", lambda: functional.rms_norm(x, (HIDDEN,), gain, 1e-5))
    gate, up = numbers(TOKENS, WIDE), numbers(TOKENS, WIDE)
    timed("swiglu forward", lambda: functional.silu(gate) * up)


def optimizer():
    # On zeros, devices are faster.
    weight = torch.rand(HIDDEN * WIDE, device=HERE, requires_grad=True)
    weight.grad = torch.rand_like(weight)
    step = torch.optim.AdamW([weight], lr=1e-4, fused=True)
    timed("adamw", step.step)


def decoding():
    w = numbers(2 * WIDE, HIDDEN)
    for batch in (1, 16, 64, 256):
        x = numbers(batch, HIDDEN)
        timed(f"decode gate_up, batch {batch}", lambda: x @ w.T)


def ceilings():
    size = 1 << (20 if TINY else 31)
    a, b = (torch.empty(size, dtype=torch.uint8, device=HERE) for _ in range(2))
    timed("ceiling copy of 2 GiB", lambda: b.copy_(a))
    x = numbers(*([64 if TINY else 8192] * 2))
    timed("ceiling product of 8192", lambda: x @ x)


def model(layers):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=HIDDEN, intermediate_size=WIDE, vocab_size=VOCABULARY, num_hidden_layers=layers,
                         num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=DIM, rope_theta=5e6,
                         max_position_embeddings=4096, tie_word_embeddings=False, attn_implementation="sdpa",
                         eos_token_id=None, bos_token_id=None, pad_token_id=None)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(HERE):
            return LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)


def emptied(failed):
    """Whether memory was what failed; it is free again afterwards."""
    gc.collect()
    if HERE == "cuda":
        torch.cuda.empty_cache()
    return isinstance(failed, torch.OutOfMemoryError)


def with_adapters(it):
    from peft import LoraConfig, get_peft_model

    # Of examples/gpu/training.rs. By itself peft would keep them in f32, which is slower beside weights of bf16.
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=targets)
    return get_peft_model(it, config, autocast_adapter_dtype=False)


def train(what, make, layers, again):
    it = make(model(layers))
    it.train()
    if again:
        # Of frozen embeddings no gradient is asked, so that the older way of it would find nothing to do.
        it.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Weights, gradients and moments all bf16: fewer bytes than ours, which has exact weights and moments in f32.
    trained = [weight for weight in it.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    ids = torch.randint(VOCABULARY, (TEXTS, TEXT_TOKENS), device=HERE)

    def step():
        loss = it(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    took = seconds_of(step, STEPS)
    name = f"{what} {TEXTS}x{TEXT_TOKENS}"
    say(name=name, seconds=took, tokens_per_second=TEXTS * TEXT_TOKENS / took, layers=layers,
        of_layers=LAYERS, checkpoints=again, states="bf16", trained=sum(weight.numel() for weight in trained))


def train_what_fits(what, make):
    for layers in (LAYERS, LAYERS // 2, LAYERS // 4):
        for again in (False, True):
            try:
                return train(what, make, layers, again)
            except RuntimeError as failed:
                if not emptied(failed):
                    raise
            emptied(None)
    say(failed=what, reason="nothing fits")


def training():
    train_what_fits("train step", lambda it: it)
    emptied(None)
    where_installed("train step, adapters", lambda: train_what_fits("train step, adapters", with_adapters))


def generation():
    it = model(LAYERS)
    it.eval()
    for batch in (64, 1):
        ids = torch.randint(VOCABULARY, (batch, PROMPT), device=HERE)

        def generate(new):
            with torch.no_grad():
                it.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False)

        try:
            generate(2)
            one = seconds_of(lambda: generate(1), 1)
            all_of_them = seconds_of(lambda: generate(NEW), 1)
        except RuntimeError as failed:
            if not emptied(failed):
                raise
            say(failed=f"generate, batch {batch}", reason="does not fit")
            continue
        # The prompt is not counted: the first token comes with it.
        took = (all_of_them - one) / (NEW - 1)
        say(name=f"generate, batch {batch}", seconds=took, tokens_per_second=batch / took,
            with_prompt_seconds=all_of_them, prompt=PROMPT, new_tokens=NEW)


PARTS = {it.__name__: it for it in (ceilings, products, attention, training, generation, rows, optimizer, decoding)}

if __name__ == "__main__":
    name = torch.cuda.get_device_name(0) if HERE == "cuda" else "the processor"
    say(torch=torch.__version__, on=name)
    for part in sys.argv[1:] or PARTS:
        where_installed(part, PARTS[part])
