#!/bin/sh
# Counts the instructions of what is done for each record and each batch, and fails if one takes more than its bound:
#
#   sh benches/instructions.sh
#
# Valgrind counts them, so the machine's load does not change the result. The script installs Valgrind if it can.

set -u
cd "$(dirname "$0")/.." || exit 2
. tests/packages.sh

failures=0

main() {
    need_valgrind
    build || exit 1
    #     what   few    many   bound: a fourth above the count of 2026-11-21 with Rust 1.95
    check append 100000 200000 250
    check seal 1000 2000 10000
    check send 20000 40000 1200
    exit "$failures"
}

need_valgrind() {
    command -v valgrind >/dev/null 2>&1 || install_packages valgrind valgrind valgrind
    if ! command -v valgrind >/dev/null 2>&1; then
        echo "valgrind is needed: $(how_to_install valgrind valgrind valgrind)" >&2
        exit 2
    fi
}

build() {
    program=$(cargo bench --locked --features unstable-internals --bench instructions --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
    [ -x "$program" ]
}

# The difference of two runs does not include the program's start.
check() {
    few=$(count "$1" "$2")
    many=$(count "$1" "$3")
    if [ -z "$few" ] || [ -z "$many" ]; then
        echo "$1: valgrind counted nothing" >&2
        failures=1
        return
    fi
    each=$(((many - few) / ($3 - $2)))
    echo "$1: $each instructions, $4 allowed"
    [ "$each" -le "$4" ] || failures=1
}

# Counts the first thread only: the work of the other threads depends on when they wake.
count() {
    counts=$(mktemp)
    valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file="$counts" --log-file=/dev/null \
        "$program" "$1" "$2" >/dev/null
    sed -n 's/^\(totals\|summary\): \([0-9]*\).*/\2/p' "$counts-01" | tail -n 1
    rm -f "$counts" "$counts"-*
}

main
