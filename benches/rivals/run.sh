#!/bin/sh
# Compares this producer with others: builds every driver that can be built and runs the jobs.
#
#   sh benches/rivals/run.sh [--jobs a,b,c | --quick | --list] [--only ours,java] [--seconds 5] [--repetitions 2]
#                            [--broker null|real|host:port]
#
# Tables go to the output; the chart and the figures of each measurement to rivals/ in the build folder. A driver that
# cannot be built is shown as "missing", with the reason. See benches/README.md.

set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/packages.sh
. tests/get_kafka.sh

target=${CARGO_TARGET_DIR:-$PWD/target}
export CARGO_TARGET_DIR="$target"
kafka=$target/kafka
kafka_version=4.3.1
libs=${KAFKA_HOME:-$kafka/$kafka_version}/libs
work=$target/rivals
missing=$work/missing

main() {
    mkdir -p "$work" "$kafka" || exit 2
    : >"$missing"
    # Without these there is nothing to compare.
    for package in brokers compare encryption floor ours; do
        cargo_build "$package" || exit 1
    done
    # Two packages have another name than the crate that they drive. With the same name cargo would build that crate.
    build_rival librdkafka librdkafka
    build_rival confluent-kafka confluent-kafka-driver
    build_rival krafka krafka-driver
    get_java
    get_go
    RIVALS_KAFKA_LIBS=$libs exec "$target/release/compare" --programs "$target/release" --work "$work" \
        --missing "$missing" --kafka-libs "$libs" "$@"
}

# Builds one package at a time, so that no package gets the features of another one.
cargo_build() {
    cargo build --quiet --release --locked --manifest-path benches/rivals/Cargo.toml -p "$1"
}

# Arguments: the name of the program and of its package.
build_rival() {
    log=$work/$1.log
    cargo_build "$2" 2>"$log" ||
        lacks_program "$1" "cargo build failed: $(grep -m 1 '^error' "$log"), see $log"
}

get_java() {
    cargo_build java || exit 1
    if ! java_is_usable; then
        lacks "Java 17 or newer is missing"
    elif ! [ -d "$libs" ]; then
        fetch "$kafka_version"
    fi
}

get_go() {
    if ! command -v go >/dev/null 2>&1; then
        lacks_program franz-go "Go is not installed"
        return
    fi
    (cd benches/rivals/franz-go && go build -o "$target/release/franz-go" .) 2>"$work/franz-go.log" ||
        lacks_program franz-go "go build failed: $(tail -n 1 "$work/franz-go.log")"
}

# tests/get_kafka.sh calls this.
lacks() {
    lacks_program java "$1"
}

lacks_program() {
    echo "$1 $2" >>"$missing"
    echo "missing: $1: $2" >&2
}

main "$@"
