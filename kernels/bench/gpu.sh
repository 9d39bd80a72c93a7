#!/usr/bin/env bash
# The checks and measurements that need a CUDA device.
#
#   gpu.sh pack FILE    builds, and packs all that the other machine needs into FILE (.tar.gz)
#   gpu.sh check        there, in the folder where FILE was unpacked: is every kernel right? 200 s
#   gpu.sh speed        there: how fast is it, beside PyTorch? 420 s
#
# `check` and `speed` take `--out FOLDER` (or $OUT) for what they find, and `--budget SECONDS`. Everything is in the
# folder before it is printed; see gpu.py.
#
# The other machine needs a driver, NVRTC (by the loader, or KUN_CUDA_LIBRARIES names its folder; the one that comes
# with PyTorch is looked for) and Python; PyTorch, transformers and peft for the comparison, ncu for counters. No Rust.
# KUN_BENCH=tiny makes everything tiny, and KUN_EMULATOR=1 says that the device is emulated: for rehearsals.
set -euo pipefail

case "${1:-}" in
pack)
    out=$(realpath "${2:?pack FILE}")
    cd "$(dirname "$0")/../.."
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    built() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1; }
    cp "$(cargo test -p kernels --test cuda --release --locked --no-run --message-format=json | built)" "$work/checks"
    cp "$(cargo build -p kernels --example gpu --release --locked --message-format=json | built)" "$work/measure"
    strip "$work/checks" "$work/measure"
    # Compiled here by the pinned NVRTC, so that nobody waits for a compiler there.
    KUN_CUDA_LIBRARIES=$(.ci/nvrtc) "$work/measure" compile "$work/cache" sm_80 sm_90
    cp kernels/bench/{gpu.sh,gpu.py,peers.py,table.py,RESULTS.md} "$work"
    mkdir "$work/fixtures"
    cp -r tests/oracle/fixtures/{gqa,bf16} "$work/fixtures"
    tar -C "$work" -czf "$out" .
    ls -l "$out"
    [ "$(stat -c %s "$out")" -le $((40 << 20)) ] || { echo "larger than 40 MiB"; exit 1; }
    ;;
check | speed)
    exec python3 "$(dirname "$0")/gpu.py" "$@"
    ;;
*)
    sed -n '2,16s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
