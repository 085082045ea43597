#!/bin/sh
# Rebuilds the built-in tools and compares them with the modules in this directory; `--write` replaces them instead
# and puts the new SHA-256 into the manifests. Needs Zig 0.17.1: `pip install ziglang==0.17.1`, and ZIG="python -m ziglang" or the like.
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for tool in add concat; do
    ${ZIG:-zig} build-exe "$tool.zig" -target wasm32-freestanding -mcpu mvp+bulk_memory+sign_ext+nontrapping_fptoint \
        -O ReleaseSmall -fno-entry -fstrip --stack 65536 --export=ak_alloc --export=ak_run \
        --cache-dir "$out/cache" --global-cache-dir "$out/cache" -femit-bin="$out/$tool.wasm"
    if [ "${1:-}" = --write ]; then
        cp "$out/$tool.wasm" "$tool.wasm"
        sum=$(sha256sum "$tool.wasm" | cut -d' ' -f1)
        sed -i "s/^sha256 = .*/sha256 = \"$sum\"/" "$tool.toml"
    else
        cmp "$out/$tool.wasm" "$tool.wasm"
    fi
done
