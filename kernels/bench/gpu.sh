#!/usr/bin/env bash
# The checks and measurements that need a CUDA device.
#
#   gpu.sh pack FILE    builds, and packs all that the other machine needs into FILE (.tar.gz)
#   gpu.sh              there, in the folder where FILE was unpacked: checks, measures, prints a table
#
# The other machine needs a driver, NVRTC (by the loader, or KUN_CUDA_LIBRARIES names its folder; the
# one that comes with PyTorch is looked for) and Python; PyTorch and transformers for the comparison. No Rust.
#
# What is most wanted comes first, each part ends after a time of its own, all together within ten minutes,
# and what was measured by then is kept: lines of JSON in ours.jsonl and peers.jsonl, parts.jsonl for how each
# part ended, all of it in results.json. KUN_BENCH=tiny makes everything tiny, to see that the script runs;
# KUN_EMULATOR=1 says that the device is emulated, so that nothing has to be a real one.
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
    [ "$(stat -c %s "$out")" -le $((60 << 20)) ] || { echo "larger than 60 MiB"; exit 1; }
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
export KUN_FIXTURES=$PWD/fixtures KUN_CUDA_CACHE=${KUN_CUDA_CACHE:-${TMPDIR:-/tmp}/kun-cuda-kernels}
[ -n "${KUN_EMULATOR:-}" ] || export KUN_REQUIRE_GPU=1
rm -f ours.jsonl peers.jsonl parts.jsonl results.json
touch ours.jsonl peers.jsonl
failed=0

part() { # seconds at most, file of its lines or -, command...
    local most=$1 lines=$2 start=$SECONDS ended=0
    shift 2
    printf '\n== %s\n' "$*"
    if [ "$lines" = - ]; then
        timeout "$most" "$@" || ended=$?
    else
        timeout "$most" "$@" | tee -a "$lines" || ended=$?
    fi
    [ "$ended" = 0 ] || failed=1
    printf '{"command": "%s", "status": %d, "took_seconds": %d}\n' "$*" "$ended" "$((SECONDS - start))" | tee -a parts.jsonl
}

checks=(./checks --test-threads "${KUN_CHECK_THREADS:-1}" --skip failures --skip mutations --skip measuring)
# Every primitive, as the kernels believe it to be; then the figures that were asked for; then each kernel
# against its twin, and whole runs of tiny models; then what PyTorch takes.
part 40 - ./checks --test-threads 1 matrices_lie
part 40 ours.jsonl ./measure probe products
part 20 ours.jsonl ./measure attention
part 110 ours.jsonl ./measure training
part 70 ours.jsonl ./measure generation
if python3 -c 'import torch, sys; sys.exit(not (torch.cuda.is_available() or "KUN_EMULATOR" in __import__("os").environ))' 2>/dev/null; then
    part 40 peers.jsonl python3 peers.py ceilings products attention
    part 70 peers.jsonl python3 peers.py training
    part 60 peers.jsonl python3 peers.py generation
    part 20 peers.jsonl python3 peers.py rows optimizer decoding
else
    echo "no PyTorch with a device: nothing to compare with" | tee -a parts.jsonl
fi
part 40 ours.jsonl ./measure rows loss optimizer decoding
part 90 - "${checks[@]}"
python3 table.py ours.jsonl peers.jsonl parts.jsonl
exit $failed
