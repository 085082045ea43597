#!/bin/sh
# Rebuilds the tools whose compiler is installed and compares them with the modules here; `--write` replaces them
# instead and puts the new SHA-256 into the manifests. The compilers, and how to name others:
#   Rust 1.95 with `rustup target add wasm32-wasip1`     CARGO=cargo
#   Zig 0.17.1, for C too: `pip install ziglang==0.17.1`  ZIG="python -m ziglang"
#   AssemblyScript 0.28: `npm install assemblyscript`     ASC="npx asc"
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

finish() {
    if [ "${write:-}" = --write ]; then
        cp "$out/$1.wasm" "$1/$1.wasm"
        sum=$(sha256sum "$1/$1.wasm" | cut -d' ' -f1)
        sed -i "s/^sha256 = .*/sha256 = \"$sum\"/" "$1/$1.toml"
    else
        cmp "$out/$1.wasm" "$1/$1.wasm"
        echo "$1: the same"
    fi
}
write=${1:-}

if [ -d "$(rustc --print target-libdir --target wasm32-wasip1 2>/dev/null)" ]; then
    RUSTFLAGS="--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo" \
        ${CARGO:-cargo} build --quiet --locked --release --target wasm32-wasip1 --target-dir "$out/target" \
        --manifest-path count/Cargo.toml
    cp "$out/target/wasm32-wasip1/release/count.wasm" "$out/count.wasm"
    finish count
else
    echo "count: no Rust for wasm32-wasip1 here"
fi

if ${ZIG:-zig} version >/dev/null 2>&1; then
    export ZIG_GLOBAL_CACHE_DIR="$out/cache" ZIG_LOCAL_CACHE_DIR="$out/cache"
    ${ZIG:-zig} cc -target wasm32-wasi -Oz -s -Wall -Werror -Wl,-z,stack-size=131072 -o "$out/list.wasm" list/list.c
    finish list
    ${ZIG:-zig} build-exe note/note.zig -target wasm32-freestanding -mcpu mvp+bulk_memory+sign_ext+nontrapping_fptoint \
        -O ReleaseSmall -fno-entry -fstrip --stack 65536 --export=ak_alloc --export=ak_run -femit-bin="$out/note.wasm"
    finish note
else
    echo "list, note: no Zig here"
fi

if ${ASC:-asc} --version >/dev/null 2>&1; then
    ${ASC:-asc} luhn/luhn.ts --outFile "$out/luhn.wasm" -Oz --runtime stub --use abort= --noColors
    finish luhn
else
    echo "luhn: no AssemblyScript here"
fi
