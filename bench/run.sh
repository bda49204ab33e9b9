#!/bin/sh
# ./run bench: builds the benchmark, installs the peers when --peers is given, measures.
set -u
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
peers=${CLOZE_PEERS:-$root/build/peers}

# Python environments of the peers, with the versions of bench/peers/*.txt. A folder that is there is
# left alone.
install_peers() {
    mkdir -p "$peers" || exit 1
    for name in ort torch zentorch; do
        [ ! -x "$peers/$name/bin/python" ] || continue
        printf 'installing %s into %s\n' "$name" "$peers/$name" >&2
        python3 -m venv "$peers/$name.new" &&
            "$peers/$name.new/bin/python" -m pip install -q -r "$root/bench/peers/$name.txt" || {
            printf 'bench: the peer %s cannot be installed; its cases are measured without it\n' "$name" >&2
            rm -rf "$peers/$name.new"
            continue
        }
        # the scripts of an environment name its folder: made anew in its last place
        rm -rf "$peers/$name" && mv "$peers/$name.new" "$peers/$name"
    done
}

n=$#
while [ "$n" -gt 0 ]; do
    argument=$1
    shift
    n=$((n - 1))
    if [ "$argument" = --peers ]; then
        install_peers
    else
        set -- "$@" "$argument"
    fi
done
ninja -C "$root/build" cloze_bench >"$root/build/log/bench.log" 2>&1 || {
    tail -n 40 "$root/build/log/bench.log" >&2
    exit 1
}
exec "$root/build/cloze_bench" "$root" "$@"
