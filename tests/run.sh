#!/bin/sh
# Runs every test of this repository: unit, integration, documentation and example programs, and the tests against real
# Kafka clusters, which start and stop inside the tests.
#
#   sh tests/run.sh
#
# Apache Kafka comes from KAFKA_HOME if that is set. Otherwise Maven gets it into the build folder; the script writes nowhere
# else. A missing Java runtime, Maven, openssl or Kerberos KDC is installed by the system's package manager when this runs as
# root. If Kafka is not available, the tests that need it are listed as skipped at the end, and the others run.
#
#   KAFKA_TESTS=required   a missing Kafka is a failure, as in CI
#   KAFKA_TESTS=off        skip the tests that need Kafka
#
# Further arguments go to cargo test: sh tests/run.sh --test kafka

set -u
cd "$(dirname "$0")/.." || exit 2
. tests/packages.sh
. tests/get_kafka.sh

KAFKA_TESTS=${KAFKA_TESTS:-auto}
export KAFKA_TESTS
target=${CARGO_TARGET_DIR:-target}
kafka=$target/kafka
versions="4.3.1 3.9.1 2.4.1"
missing=

main() {
    mkdir -p "$kafka" || exit 2
    remove_kept_clusters
    case $KAFKA_TESTS in
        off) ;;
        auto | required)
            get_kafka
            get_openssl
            get_kerberos
            ;;
        *)
            echo "KAFKA_TESTS is '$KAFKA_TESTS': it can be auto, required or off" >&2
            exit 2
            ;;
    esac
    run_tests "$@"
    summarize
}

# Clusters of failed tests keep their logs until the next run; their names end in the test's process id and a number.
remove_kept_clusters() {
    for folder in "$target"/tmp/kafka-*-*-*; do
        owner=${folder%-*}
        owner=${owner##*-}
        [ -d "$folder" ] && ! kill -0 "$owner" 2>/dev/null && rm -rf "$folder"
    done
}

# --- Kafka and what it needs -----------------------------------------------------------------------------------------

get_kafka() {
    if ! java_is_usable; then
        install_packages "openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless" \
            "java-17-openjdk-headless java-21-openjdk-headless java-latest-openjdk-headless" \
            "openjdk17-jre-headless openjdk21-jre-headless"
        if ! java_is_usable; then
            lacks "Java 17 or newer is missing; install a runtime, for example: $(how_to_install "openjdk-17-jre-headless" \
                "java-21-openjdk-headless" "openjdk17-jre-headless")"
            return
        fi
    fi
    if [ -n "${KAFKA_HOME:-}" ] && ! [ -d "$KAFKA_HOME/libs" ]; then
        lacks "KAFKA_HOME is '$KAFKA_HOME', and there is no folder libs in it"
    fi
    for version in $versions; do
        if [ -n "${KAFKA_HOME:-}" ] && [ "$version" = 4.3.1 ]; then
            continue
        fi
        [ -d "$kafka/$version/libs" ] || fetch "$version" || return
    done
}

# Makes the certificates of secure clusters.
get_openssl() {
    command -v openssl >/dev/null 2>&1 || install_packages openssl openssl openssl
    command -v openssl >/dev/null 2>&1 ||
        lacks "openssl is missing; install it: $(how_to_install openssl openssl openssl)"
}

# A KDC with its tools, and the library that a client loads.
get_kerberos() {
    has_kerberos || {
        install_packages krb5-kdc krb5-server krb5-server
        install_packages krb5-admin-server krb5-server krb5-server
        install_packages krb5-user krb5-workstation krb5
        install_packages libgssapi-krb5-2 krb5-libs krb5-libs
    }
    has_kerberos || lacks "a Kerberos KDC is missing; install it: $(how_to_install "krb5-kdc krb5-admin-server krb5-user" \
        "krb5-server krb5-workstation" "krb5-server krb5")"
}

# The programs of administrators are not in every user's PATH.
has_kerberos() {
    for program in krb5kdc kdb5_util kadmin.local kinit; do
        command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || return 1
    done
}

lacks() {
    missing="$missing$1
"
    echo "$1" >&2
}

# --- The tests -------------------------------------------------------------------------------------------------------

run_tests() {
    log=$target/tests.log
    status_file=$target/tests.status
    {
        cargo test --all-features --no-fail-fast "$@"
        echo $? >"$status_file"
    } 2>&1 | tee "$log"
    status=$(cat "$status_file")
}

summarize() {
    passed=$(count passed)
    failed=$(count failed)
    skipped=$(count ignored)
    echo "----------------------------------------------------------------------"
    sed -n 's/^test \(.*\) \.\.\. ignored, \(.*\)$/skipped: \1: \2/p; s/^test \(.*\) \.\.\. ignored$/skipped: \1/p' "$log"
    sed -n 's/^test \(.*\) \.\.\. FAILED.*$/failed: \1/p' "$log"
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
        # No test failed: a build failed, or a test ended its process.
        grep '^error' "$log" | head -n 5
        echo "failed: cargo test ended with status $status"
        failed=1
    fi
    if [ -n "$missing" ] && [ "$KAFKA_TESTS" = required ]; then
        printf 'failed: KAFKA_TESTS=required, but %s' "$missing"
        [ "$failed" != 0 ] || failed=1
    elif [ -n "$missing" ]; then
        printf 'no tests against some real Kafka: %s' "$missing"
    fi
    if [ "$((passed + failed + skipped))" = 0 ]; then
        echo "failed: no test ran"
        failed=1
    fi
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

# The sum of one number of all lines like: test result: ok. 5 passed; 0 failed; 0 ignored; ...
count() {
    sed -n "s/^test result: .* \([0-9][0-9]*\) $1;.*/\1/p" "$log" | awk '{ sum += $1 } END { print sum + 0 }'
}

main "$@"
