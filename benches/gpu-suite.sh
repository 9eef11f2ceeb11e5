#!/bin/sh
# What a GPU makes of the kernels, in one file to send us: are they right, what can the card do, how fast are the workloads.
#     benches/gpu-suite.sh [PROGRAM] [DEVICE]        target/release/mode and gpu, if not given
# Builds nothing, needs nothing but the program, and takes less than eight minutes; what takes longer than its share is cut off
# and said so. The file is new each time: gpu-suite-DATE.txt, a line of JSON a result.
set -u

program=${1:-target/release/mode}
device=${2:-gpu}
out=gpu-suite-$(date +%Y%m%d-%H%M%S).txt
if [ ! -x "$program" ]; then
    echo "gpu-suite: no program $program; build it first: cargo build --release" >&2
    exit 2
fi
if [ -e "$out" ]; then
    echo "gpu-suite: $out is there already; wait a second" >&2
    exit 2
fi

# Seconds, then the program's arguments; a title stands before what it prints.
part() {
    seconds=$1
    shift
    echo "gpu-suite: $*" >&2
    echo "# mode $*" >>"$out"
    timeout "$seconds" "$program" "$@" >>"$out" 2>>"$out.errors"
    code=$?
    if [ $code = 124 ]; then
        echo "# cut off after $seconds s" >>"$out"
    elif [ $code != 0 ]; then
        echo "# exit code $code: $(tail -n 1 "$out.errors")" >>"$out"
    fi
    return $code
}

# Its name, driver, limits and features.
part 30 devices --json
# A wrong kernel's time is nobody's business, but which is wrong we want to know.
part 60 check --all --device "$device" --json || echo "gpu-suite: kernels that disagree are named in $out" >&2
part 40 check --draws 50 --seed 1 --device "$device" --json || echo "gpu-suite: draws that disagree are named in $out" >&2
part 30 bench ceilings --device "$device" --json
for workload in W1 W1-4096 W1-8192 W1-4096-f16 W1-8192-f16 W1b W2 W2b W2-4096 W2-4096-half W2b-4096 W3 W3b W3-32768 W3b-32768 W4 W4-f16 W4-135M W4-135M-f16 W5 W5f W6 W6-f16; do
    part 11 bench "$workload" --device "$device" --json
done
part 30 profile gate --branches 3 --tokens 8192 --width 1536 --device "$device" --json
part 30 profile step W4 --device "$device" --json
rm -f "$out.errors"
echo "gpu-suite: $out" >&2
