#!/bin/sh
# Makes the TensorRT engine of this bundle on the device that will run it, proves it, and times it.
# It changes nothing but engine/ in this folder: no sudo, no clocks, no power mode.
set -eu

usage="usage: ./build.sh [--precision fp16|int8|fp32] [--fps N]
  --precision  of the engine; what manifest.json says if left out
  --fps        frames per second that it must reach end to end, 60 if left out; 0 times without a gate
exit codes: 0 built and passed, 1 could not finish, 3 a check or the frame rate failed"

fail() {
    echo "build.sh: $1" >&2
    exit 1
}

precision=
fps=60
while [ $# -gt 0 ]; do
    case $1 in
        --precision|--fps)
            [ $# -gt 1 ] || fail "$1 wants a value; ./build.sh --help"
            if [ "$1" = --fps ]; then fps=$2; else precision=$2; fi
            shift 2 ;;
        -h|--help) echo "$usage"; exit 0 ;;
        *) fail "$1 is not known; ./build.sh --help" ;;
    esac
done
case $precision in ""|fp32|fp16|int8) ;; *) fail "--precision is $precision: expected fp16, int8 or fp32" ;; esac
case $fps in ""|.|*[!0-9.]*|*.*.*) fail "--fps is $fps: expected a number such as 60" ;; esac

CDPATH= cd -- "$(dirname "$(readlink -f "$0")")"
export PYTHONDONTWRITEBYTECODE=1
python=${PYTHON:-python3}
has() { "$python" -c "import $1" >/dev/null 2>&1; }

command -v "$python" >/dev/null 2>&1 || fail "$python is missing: sudo apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' || fail "$python is older than 3.8: set PYTHON to a newer one"
has numpy || fail "numpy is missing for $python: sudo apt-get install python3-numpy"
has cv2 || fail "OpenCV is missing for $python: it comes with JetPack; elsewhere pip install opencv-python-headless"

echo "1/4 the bundle"
if has onnxruntime; then
    "$python" runtime.py check --backend onnx
else
    "$python" runtime.py verify
    echo "onnxruntime is not installed: the golden images are left to the engine"
fi

if ! has tensorrt; then
    if command -v trtexec >/dev/null 2>&1 || [ -x /usr/src/tensorrt/bin/trtexec ]; then
        fail "TensorRT is here, its Python module is missing, and runtime.py needs it: sudo apt-get install python3-libnvinfer"
    fi
    fail "TensorRT is missing, so no engine was built: it comes with JetPack (sudo apt-get install nvidia-jetpack). \
Without it the model runs with ONNX Runtime: python3 runtime.py folder DIR"
fi

echo "2/4 the engine; this takes minutes"
if [ -n "$precision" ]; then
    "$python" to_engine.py --precision "$precision"
else
    "$python" to_engine.py
fi

echo "3/4 the engine against the golden images"
"$python" runtime.py check --backend tensorrt

echo "4/4 the clock"
echo "for the highest figures set the power mode by hand first: sudo nvpmodel -p --verbose lists the modes; pick the line"
echo "with MAXN (its number differs between boards: 0 is 15 W on an Orin Nano Super), sudo nvpmodel -m ID, sudo jetson_clocks"
"$python" bench.py --backend tensorrt --fps "$fps" --json engine/bench.json --markdown engine/bench.md

echo "built. next: python3 runtime.py camera 0"
