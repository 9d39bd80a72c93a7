#!/usr/bin/env bash
# The checks and measurements that need a CUDA device.
#
#   gpu.sh pack FILE    builds, and packs all that the other machine needs into FILE (.tar.gz)
#   gpu.sh              there, in the folder where FILE was unpacked: checks, measures, prints a table
#
# The other machine needs a driver, NVRTC (by the loader, or KUN_CUDA_LIBRARIES names its folder; the
# one that comes with PyTorch is looked for) and Python; PyTorch for the comparison. No Rust.
set -euo pipefail

if [ "${1:-}" = pack ]; then
    out=$(realpath "$2")
    cd "$(dirname "$0")/../.."
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    built() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1; }
    cp "$(cargo test -p kernels --test cuda --release --locked --no-run --message-format=json | built)" "$work/checks"
    cp "$(cargo build -p kernels --example gpu --release --locked --message-format=json | built)" "$work/measure"
    strip "$work/checks" "$work/measure"
    cp kernels/bench/{gpu.sh,peers.py,table.py} "$work"
    mkdir "$work/fixtures"
    cp -r tests/oracle/fixtures/{gqa,bf16} "$work/fixtures"
    tar -C "$work" -czf "$out" .
    ls -l "$out"
    exit
fi

cd "$(dirname "$0")"
if [ -z "${KUN_CUDA_LIBRARIES:-}" ]; then
    found=$(python3 -c 'import glob, os, sys
for it in sys.path:
    for lib in glob.glob(os.path.join(it, "nvidia", "*", "lib", "libnvrtc.so*")):
        print(os.path.dirname(lib)); sys.exit()' || true)
    [ -n "$found" ] && export KUN_CUDA_LIBRARIES=$found
fi
export KUN_REQUIRE_GPU=1 KUN_FIXTURES=$PWD/fixtures KUN_CUDA_CACHE=${TMPDIR:-/tmp}/kun-cuda-kernels
echo "== every primitive, every kernel against its twin, training and generation of tiny models"
./checks --test-threads 1 --skip failures --skip mutations
echo "== times"
./measure | tee ours.jsonl
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    python3 peers.py | tee peers.jsonl
else
    echo "no PyTorch with a device: nothing to compare with"
fi
python3 table.py ours.jsonl peers.jsonl
