# Installs missing tools with the system's package manager if a script of this project runs as root. Scripts source this file.
# Each function takes the names for apt-get, dnf and apk; the first of each that can be installed is enough.

install_packages() {
    [ "$(id -u)" = 0 ] || return 0
    if command -v apt-get >/dev/null 2>&1; then
        DEBIAN_FRONTEND=noninteractive
        export DEBIAN_FRONTEND
        [ -n "${lists_are_fresh:-}" ] || apt-get update -qq && lists_are_fresh=yes
        install_first "apt-get install -y -qq --no-install-recommends" "$1"
    elif command -v dnf >/dev/null 2>&1; then
        install_first "dnf install -y -q" "$2"
    elif command -v apk >/dev/null 2>&1; then
        install_first "apk add --quiet" "$3"
    fi
}

install_first() {
    install_log=$(mktemp)
    for package in $2; do
        echo "installing $package"
        if $1 "$package" >"$install_log" 2>&1 </dev/null; then
            rm -f "$install_log"
            return 0
        fi
    done
    tail -n 5 "$install_log"
    rm -f "$install_log"
}

how_to_install() {
    if command -v apt-get >/dev/null 2>&1; then
        echo "apt-get install $1"
    elif command -v dnf >/dev/null 2>&1; then
        echo "dnf install $2"
    elif command -v apk >/dev/null 2>&1; then
        echo "apk add $3"
    else
        echo "the package $1 or its like"
    fi
}
