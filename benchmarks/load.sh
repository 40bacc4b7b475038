#!/usr/bin/env bash
# What a server with the embedded bundle holds on this machine, in half an hour: knee, soak, simulation, overload, crashes.
#
#   benchmarks/load.sh [FOLDER]            results: FOLDER/*/report.html, benchmarks/results/load_cpu.json
#
# Pictures of preset fast at 128 px, none from the cache; the queue takes four, so that an overload fills it soon.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-build/load}")
mkdir -p "$out"
sed 's/result_cache_bytes: [0-9]*/result_cache_bytes: 0/; s/jobQueueSize: 100/jobQueueSize: 4/' handlers/model-config.yaml > "$out/settings.yaml"
genartisan archive --settings "$out/settings.yaml" --store "$out/store"
genartisan serve --store "$out/store" --state "$out/state"
trap 'genartisan stop --state "$out/state"' EXIT

run() { # NAME FLAGS…
    local name=$1
    shift
    locust --headless --only-summary -f loadtest/locustfile.py --host http://127.0.0.1:8080 --state "$out/state" \
        --key-file "$out/state/key_file.json" --presets fast --params '{"size": 128}' --report "$out/$name" "$@"
}

run alone --users 1 --run-time 90s
run knee --levels 1x40,2x40,4x40
# Of a single user, over 90 s: the levels of the knee are short.
best=$(python -c "import json; print(json.load(open('$out/alone/report.json'))['pictures_a_minute'] / 60)")
times() { python -c "print(f'{$1 * $best:.3f}')"; }
run soak --rate "$(times 0.8)" --constant --run-time 600s
run open --rate "$(times 0.6)" --run-time 240s --seed 3
run overload --rate 1 --levels "$(times 0.6)x40,$(times 3)x60,$(times 0.6)x40"
run killed --users 2 --run-time 300s --kill-every 60 --max-failures 1
run retried --users 2 --run-time 300s --kill-every 60 --retries 1
PYTHONPATH=loadtest python benchmarks/load_summary.py "$out"
