#!/bin/sh
# Runs trials of a live team, each briefly, and tells in the end which went wrong.
# usage: tools/trials.sh PYTHON "NAME..." [OPTION...]
# The full ones are `python -m bench NAME`, whose defaults are what the goals are stated for.
set -u

python=$1
names=$2
shift 2
failed=""

brief() {
    case $1 in
    takeover) echo --trials 10 ;;
    deaf) echo --trials 5 ;;
    falsealarm) echo --minutes 0.2 ;;
    faults) echo --faults 15 ;;
    alb) echo --seconds 5 ;;
    direct) echo --seconds 3 ;;
    offload) echo --rounds 1 --seconds 2 ;;
    pool) echo --rounds 2 --seconds 1 ;;
    plain) echo --rounds 2 --seconds 1 ;;
    simlive) ;;
    esac
}

for name in $names; do
    # shellcheck disable=SC2046 # the options are words
    "$python" -m bench "$name" $(brief "$name") "$@" || failed="$failed $name"
done
if [ -n "$failed" ]; then
    echo "trials: went wrong:$failed" >&2
    exit 1
fi
