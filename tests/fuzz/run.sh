#!/bin/sh
# Fuzzes what a broker can send, and a few other inputs, guided by coverage, on a stable toolchain:
#
#   sh tests/fuzz/run.sh [seconds [target...]]
#
# builds the targets in src/bin and runs them for the given time in all, 60 seconds by default. JOBS is the number of targets
# that run at the same time, by default the number of cores. It prints for each how many inputs were tried, the coverage and the size of the corpus. A crash, an
# input that takes more than 5 seconds or too much memory is a failure; the input is kept in target/fuzz/artifacts, and
#
#   target/fuzz/<host>/release/<target> <input>
#
# runs it again. The corpus in target/fuzz/corpus begins with messages from our own encoders and stays between runs.

set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/packages.sh

seconds=${1:-60}
[ $# = 0 ] || shift
mkdir -p "${CARGO_TARGET_DIR:-target}/fuzz" || exit 2
folder=$(cd "${CARGO_TARGET_DIR:-target}/fuzz" && pwd)
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
host=$(rustc -vV | sed -n 's/^host: //p')
programs=$folder/$host/release

main() {
    need_cxx
    build || exit 1
    if [ $# = 0 ]; then
        set -- tests/fuzz/src/bin/*.rs
    fi
    each=$((seconds * jobs / $#))
    [ "$each" -gt 0 ] || each=1
    mkdir -p "$folder/logs" "$folder/artifacts"
    # Job n of N runs the targets n, n + N, n + 2 N and so on.
    job=0
    while [ "$job" -lt "$jobs" ]; do
        run_every "$job" "$@" &
        job=$((job + 1))
    done
    wait
    report "$@"
}

# libFuzzer is C++.
need_cxx() {
    command -v "${CXX:-c++}" >/dev/null 2>&1 || install_packages g++ gcc-c++ g++
    command -v "${CXX:-c++}" >/dev/null 2>&1 || {
        echo "a C++ compiler is missing; install it: $(how_to_install g++ gcc-c++ g++)" >&2
        exit 2
    }
}

# Adds counters at each edge, and reports the operands of comparisons to libFuzzer. With --target, build scripts have none.
build() {
    flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
    for part in inline-8bit-counters pc-table trace-compares; do
        flags="$flags -Cllvm-args=-sanitizer-coverage-$part"
    done
    RUSTFLAGS="$flags -Ccodegen-units=1 ${RUSTFLAGS:-}" CARGO_TARGET_DIR=$folder \
        cargo build --locked --release --target "$host" --manifest-path tests/fuzz/Cargo.toml
}

run_every() {
    job=$1
    shift
    number=0
    for target; do
        [ "$((number % jobs))" != "$job" ] || run "$(basename "$target" .rs)"
        number=$((number + 1))
    done
}

# The targets count their own allocations. This limit is for the allocations of C code.
run() {
    corpus=$folder/corpus/$1
    mkdir -p "$corpus"
    echo "did not run" >"$folder/logs/$1.status"
    FUZZ_SEEDS=$corpus "$programs/$1" 2>"$folder/logs/$1" || return
    "$programs/$1" -max_total_time="$each" -timeout=5 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="$folder/artifacts/$1-" "$corpus" >"$folder/logs/$1" 2>&1
    echo $? >"$folder/logs/$1.status"
}

report() {
    failed=0
    printf '%-28s %12s %9s %9s %8s\n' target inputs edges features corpus
    for target; do
        name=$(basename "$target" .rs)
        log=$folder/logs/$name
        # The last line of progress: #1234 DONE cov: 1 ft: 2 corp: 3/4b ...
        figures=$(sed -n 's/^#\([0-9]*\).* cov: \([0-9]*\) ft: \([0-9]*\) corp: \([0-9]*\).*/\1 \2 \3 \4/p' "$log" | tail -n 1)
        # shellcheck disable=SC2086
        printf '%-28s %12s %9s %9s %8s\n' "$name" ${figures:-- - - -}
        if [ "$(cat "$log.status")" != 0 ]; then
            failed=1
            echo "failed: $name:"
            grep -E 'panicked|ERROR|Test unit written' -A 2 "$log" | head -n 12
        fi
    done
    return $failed
}

main "$@"
