# Gets Apache Kafka's jars as Maven artifacts: for tests/run.sh and benches/rivals/run.sh, which source it from the root.
#
# They set $kafka, the folder to put them in, and define lacks, which this script calls with a text that says what is missing. Needs tests/packages.sh.

java_is_usable() {
    java=${JAVA_HOME:+$JAVA_HOME/bin/}java
    major=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

# Puts a version's jars into $kafka/<version>/libs; a lock keeps two runs apart.
fetch() {
    if ! command -v mvn >/dev/null 2>&1; then
        install_packages maven maven maven
        if ! command -v mvn >/dev/null 2>&1; then
            lacks "Maven is missing; install it: $(how_to_install maven maven maven); or set KAFKA_HOME to a Kafka"
            return 1
        fi
    fi
    take_lock
    if ! [ -d "$kafka/$1/libs" ]; then
        echo "getting Apache Kafka $1"
        rm -rf "$kafka/$1.part"
        mkdir -p "$kafka/$1.part" "$kafka/$1"
        pom "$1" >"$kafka/$1.part/pom.xml"
        if copy_dependencies "$kafka/$1.part" && ls "$kafka/$1.part/libs"/kafka_2.1*.jar >/dev/null 2>&1; then
            mv "$kafka/$1.part/libs" "$kafka/$1/libs"
            rm -rf "$kafka/$1.part"
        fi
    fi
    drop_lock
    [ -d "$kafka/$1/libs" ] || {
        lacks "Maven could not get Kafka $1 (see above); run again with a connection to Maven's repository"
        return 1
    }
}

copy_dependencies() {
    limit=
    if command -v timeout >/dev/null 2>&1; then limit="timeout 900"; fi
    repository=$(cd "$kafka" && pwd)/m2
    (cd "$1" && $limit mvn -q -B -C "-Dmaven.repo.local=$repository" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory=libs) </dev/null
}

pom() {
    case $1 in
        4.*) artifacts="kafka_2.13 kafka-tools" ;;
        3.*) artifacts="kafka_2.13" ;;
        *) artifacts="kafka_2.12" ;;
    esac
    echo "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>kafka-for-tests</artifactId>"
    echo "<version>1</version><packaging>pom</packaging><dependencies>"
    for artifact in $artifacts; do dependency org.apache.kafka "$artifact" "$1"; done
    # Without a logging binding a broker does not log why it ended.
    dependency org.slf4j slf4j-simple 1.7.36
    echo "</dependencies></project>"
}

dependency() {
    echo "<dependency><groupId>$1</groupId><artifactId>$2</artifactId><version>$3</version></dependency>"
}

# The lock is a folder, which only one process can create. It holds the id of its owner, so that the lock of a dead process
# is recognized.
take_lock() {
    waited=0
    until mkdir "$kafka/lock" 2>/dev/null; do
        owner=$(cat "$kafka/lock/owner" 2>/dev/null || echo "")
        if [ "$waited" -ge 1800 ] || { [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; }; then
            rm -rf "$kafka/lock"
            continue
        fi
        sleep 1
        waited=$((waited + 1))
    done
    echo $$ >"$kafka/lock/owner"
    trap 'drop_lock; exit 130' INT TERM HUP
}

drop_lock() {
    rm -rf "$kafka/lock"
    trap - INT TERM HUP
}
