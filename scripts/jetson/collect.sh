#!/bin/sh
# Builds and times bundles on the Jetson it runs on, one after the other, and collects what bench.py measured:
# one OUT/BUNDLE-PRECISION.json each, with the device, its power mode, clocks and temperatures in it.
# It sets nothing. It has not run on a Jetson yet.
set -eu

[ $# -ge 2 ] || { echo "usage: sh collect.sh OUT BUNDLE... ; PRECISIONS=\"fp16 int8\" chooses, WAIT=60 lets it cool between"; exit 1; }
out=$1
shift
mkdir -p "$out"

failed=0
for bundle in "$@"; do
    for precision in ${PRECISIONS:-fp16}; do
        name=$(basename "$bundle")-$precision
        rm -f "$bundle/engine/bench.json"
        # Without a gate: here a slow model is a figure, not a failure.
        sh "$bundle/build.sh" --precision "$precision" --fps 0 >"$out/$name.log" 2>&1 || true
        if [ -s "$bundle/engine/bench.json" ]; then
            cp "$bundle/engine/bench.json" "$out/$name.json"
            echo "$name: $out/$name.json"
        else
            echo "$name: not measured, see $out/$name.log" >&2
            failed=1
        fi
        sleep "${WAIT:-0}"
    done
done
exit $failed
