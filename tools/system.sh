#!/bin/sh
# Says in one line what this system lacks, with the Debian package that brings it.
# usage: tools/system.sh build|demo|test
# `build` looks for what compiles the extension, `demo` also for what the demonstration
# calls, `test` for what the tests call besides.
set -u

python=${PYTHON:-python3}
cargo_minimum="1.89"
lacks=""

need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || lacks="$lacks, $1 (package $2)"
}

if ! command -v "$python" >/dev/null 2>&1; then
    lacks="$lacks, $python (packages python3 and python3-venv)"
elif ! "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
    lacks="$lacks, Python 3.11 or newer ($("$python" --version 2>&1) found; name another with PYTHON=)"
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    lacks="$lacks, Python's venv (package python3-venv)"
fi

if ! command -v cargo >/dev/null 2>&1; then
    lacks="$lacks, cargo $cargo_minimum or newer (install it with rustup)"
else
    found=$(cargo --version 2>/dev/null | awk '{ print $2 }')
    oldest=$(printf '%s\n%s\n' "$cargo_minimum" "${found:-0}" | sort -V | head -n 1)
    [ "$oldest" = "$cargo_minimum" ] ||
        lacks="$lacks, cargo $cargo_minimum or newer (${found:-none} found; install one with rustup)"
fi

if ! command -v cc >/dev/null 2>&1; then
    lacks="$lacks, a C compiler (package gcc)"
elif ! printf '#include <stdlib.h>\n' | cc -E - >/dev/null 2>&1; then
    lacks="$lacks, the C library's headers (package libc6-dev)"
fi

# Where these lie is not on every user's PATH.
PATH="$PATH:/usr/sbin:/sbin"
if [ "${1:-test}" != build ]; then
    need ip iproute2
    need nft nftables
    need sysctl procps
fi
if [ "${1:-test}" = test ]; then
    need ethtool ethtool
    need xz xz-utils
fi

if [ -n "$lacks" ]; then
    echo "esprit: this system lacks ${lacks#, }" >&2
    exit 1
fi
