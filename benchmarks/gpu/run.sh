#!/usr/bin/env bash
# The GPU check: installs the wheels beside this file, runs the named stages, each within its own limit, and prints one
# JSON line per figure. Run it in the root of the checkout:
#   bash .gpu/run.sh [--tiny] STAGE...      stages: machine tests smoke steps compile encoder http
# $OUT, where it is set, gets figures.jsonl and log.txt. PYTHON names another interpreter.
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 OUT="${OUT:-$(mktemp -d)}" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export OMP_WAIT_POLICY=PASSIVE
export PYTHONPATH="$here:$PWD${PYTHONPATH:+:$PYTHONPATH}"
tiny=()
if [ "${1:-}" = --tiny ]; then
    tiny=(--tiny)
    shift
fi
log="$OUT/log.txt"

say() { printf '{"stage": "%s", "figure": "%s", "value": %s, "unit": "%s"}\n' "$@" | tee -a "$OUT/figures.jsonl"; }

if [ -d "$here/whl" ] && [ ! ${#tiny[@]} -gt 0 ]; then
    began=$SECONDS
    site=${TMPDIR:-/tmp}/gpu-check-site
    if [ ! -e "$site/done" ]; then
        "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" \
            "$here"/whl/*.whl >>"$log" 2>&1 || { tail -5 "$log"; exit 1; }
        # Here and not at the first import: torchao's odd escapes are warnings then, which the tests take for errors.
        "$python" -W ignore -m compileall -q -j 0 "$site" >>"$log" 2>&1
        touch "$site/done"
    fi
    export PYTHONPATH="$site:$PYTHONPATH"
    say install seconds $((SECONDS - began)) s
fi

# Runs a command within a limit; what it says beside its figures goes to the log, whose end is shown when it fails.
stage() {
    local name="$1" limit="$2" began=$SECONDS status=0
    shift 2
    echo "== $name: $*" >>"$log"
    timeout --signal=INT --kill-after=25 "$limit" "$@" 2>>"$log" | tee -a "$log" | grep --line-buffered '^{"stage"'
    status=${PIPESTATUS[0]}
    if [ "$status" != 0 ]; then tail -25 "$log" | cut -c1-300; fi
    say "$name" "seconds, status $status" $((SECONDS - began)) s
}

http() {
    if [ ! ${#tiny[@]} -gt 0 ] && grep -q '"vocab_size": 2048' benchmarks/full_size.py; then
        say http "left out: benchmarks/full_size.py has fewer tokens than its tokenizer, see README.md" 0 ""
        return
    fi
    local load=(--device cuda --seconds 12) results
    if [ ${#tiny[@]} -gt 0 ]; then load=(--device simulated --seconds 3); fi
    results=$(mktemp -d)
    stage http 220 "$python" -m benchmarks "${load[@]}" --scenario throughput --server a e --rounds 1 \
        --output "$results"
    grep -E '^ +(16 clients|ours|/health)' "$log" | tail -8
    cp "$results/latest.json" "$OUT/benchmarks.json" 2>/dev/null
}

for name in "$@"; do
    case "$name" in
        machine) stage machine 45 "$python" "$here/machine_figures.py" ;;
        tests)
            # Without the plug-ins that happen to be installed there.
            PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 stage tests 120 "$python" -m pytest -p pytest_timeout -p pytest_socket tests/gpu -q -p no:cacheprovider --timeout 90 -rA
            grep -E '^(PASSED|FAILED|ERROR|SKIPPED)|^E  |^[0-9]+ (passed|failed|skipped)' "$log" | tail -40 | cut -c1-220
            ;;
        smoke) stage smoke 110 "$python" "$here/smoke.py" ${tiny[@]+"${tiny[@]}"} ;;
        steps)
            stage steps 240 "$python" "$here/steps.py" ${tiny[@]+"${tiny[@]}"} \
                step_times batches syncs clients interruption \
                decoding decode_charge attention graphs int8 memory
            ;;
        compile)
            stage compile 200 "$python" "$here/steps.py" ${tiny[@]+"${tiny[@]}"} --compile shapes step_times
            ;;
        encoder) stage encoder 60 "$python" "$here/encoder.py" ${tiny[@]+"${tiny[@]}"} ;;
        http) http ;;
        *) echo "There is no stage $name." >&2 ;;
    esac
done
