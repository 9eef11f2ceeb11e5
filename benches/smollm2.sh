#!/usr/bin/env bash
# A real model adapted to two domains, and what it costs: next-token accuracy and loss on held-out English, code and math of
# SmolLM2-135M-Instruct, of stage 1 and stage 2 beside it, and of all its weights or a LoRA trained instead. Results in benches/record/.
#
#     benches/smollm2.sh MODEL GSM8K.jsonl MBPP.jsonl ENGLISH.txt OUT [DEVICE]
#
# MODEL is the model's folder, best with weights in bf16, which stay so. The recipes are examples/recipes/smollm2/. On two cores
# it takes an hour and a half. STEPS=10 tries everything with few steps.
set -euo pipefail
[ $# -ge 5 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$(realpath "$1") math=$(realpath "$2") code=$(realpath "$3") english=$(realpath "$4") device=${6:-cpu}
mkdir -p "$5"
out=$(realpath "$5")
cd "$(dirname "$0")/.."
mode=${MODE:-target/release/mode}
recipes=examples/recipes/smollm2
domain_math="{name='math', source='$out/math-train.tokens'}"
domain_code="{name='code', source='$out/code-train.tokens'}"

prepare() { [ -e "$out/$1-$3.tokens" ] || "$mode" data prepare "$2" --tokenizer "$model/tokenizer.json" --split "$3" --out "$out/$1-$3.tokens"; }
for split in train test; do
    prepare math "$math:question,answer" $split
    prepare code "$code:text,code" $split
done
prepare english "$english" test

run() {  # COMMAND NAME DATA SETTING..
    local steps=()
    [ -z "${STEPS:-}" ] || steps=(--set "train.steps=$STEPS" --set train.warmup=1)
    local command=$1 name=$2 data=$3; shift 3
    [ -e "$out/$name" ] || "$mode" "$command" "$recipes/$name.toml" --out "$out/$name" --set "base='$model'" --set "data=[$data]" \
        "${steps[@]}" "$@" --quiet --device "$device"
}
run train math "$domain_math"
run train code "$domain_code"
run compose compose "$domain_math, $domain_code" --set "compose.experts=['$out/math', '$out/code']"
run train full "$domain_math, $domain_code"
run train lora "$domain_math, $domain_code"

measure() {  # NAME MODEL ARGUMENT..
    local name=$1; shift
    printf '%-12s' "$name"
    for text in english code math; do
        "$mode" eval --model "$@" --ids "$out/$text-test.tokens" --limit "${LIMIT:-30000}" --json --device "$device" 2>/dev/null |
            sed -E 's/.*"mean_nll":([0-9.]+),"next_token_accuracy":([0-9.]+).*/\2 \1/' |
            { read -r accuracy loss; LC_ALL=C printf '   %.4f %.4f' "$accuracy" "$loss"; }
    done
    echo
}
echo "             accuracy and loss of English, code, math"
measure base "$model"
measure math "$model" --expert "$out/math"
measure code "$model" --expert "$out/code"
measure composed "$out/compose"
measure full "$out/full"
measure lora "$out/lora"
