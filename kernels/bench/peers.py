"""What PyTorch takes for the same work as kernels/examples/gpu.rs, as lines of JSON with the same names."""

import json
import time

import torch
import torch.nn.functional as functional

TOKENS, SPAN, HIDDEN, WIDE, VOCABULARY = 8192, 2048, 4096, 11008, 64000
HEADS, KV_HEADS, DIM = 32, 4, 128
REPEATS = 10


def numbers(*shape):
    return (torch.rand(*shape, device="cuda", dtype=torch.float32) * 0.2 - 0.1).to(torch.bfloat16)


def timed(name, call):
    for _ in range(2):
        call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(REPEATS):
        call()
    torch.cuda.synchronize()
    print(json.dumps({"name": name, "seconds": (time.perf_counter() - start) / REPEATS}), flush=True)


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


def attention():
    n = TOKENS // SPAN
    q = numbers(n, HEADS, SPAN, DIM).requires_grad_()
    k, v = (numbers(n, KV_HEADS, SPAN, DIM).requires_grad_() for _ in range(2))
    d_out = numbers(n, HEADS, SPAN, DIM)

    def forward():
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    timed("attention forward", forward)
    out = forward()
    timed("attention backward", lambda: torch.autograd.grad(out, (q, k, v), d_out, retain_graph=True))


def rows():
    x, gain = numbers(TOKENS, HIDDEN), numbers(HIDDEN)
    timed("rms_norm forward", lambda: functional.rms_norm(x, (HIDDEN,), gain, 1e-5))
    gate, up = numbers(TOKENS, WIDE), numbers(TOKENS, WIDE)
    timed("swiglu forward", lambda: functional.silu(gate) * up)


def optimizer():
    weight = torch.zeros(HIDDEN * WIDE, device="cuda", requires_grad=True)
    weight.grad = torch.zeros_like(weight)
    step = torch.optim.AdamW([weight], lr=1e-4, fused=True)
    timed("adamw", step.step)


def decoding():
    w = numbers(2 * WIDE, HIDDEN)
    for batch in (1, 16, 64, 256):
        x = numbers(batch, HIDDEN)
        timed(f"decode gate_up, batch {batch}", lambda: x @ w.T)


def ceilings():
    size = 1 << 31
    a, b = (torch.empty(size, dtype=torch.uint8, device="cuda") for _ in range(2))
    timed("ceiling copy of 2 GiB", lambda: b.copy_(a))
    x = numbers(8192, 8192)
    timed("ceiling product of 8192", lambda: x @ x)


if __name__ == "__main__":
    print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name(0)}))
    for part in (ceilings, products, attention, rows, optimizer, decoding):
        part()
