#!/usr/bin/env bash
# Set everything up on a fresh machine, then run lint, types, the import law, spelling and all tests.
#   bash run_tests.sh                      everything but the slow modes
#   bash run_tests.sh --fast               unit tests only
#   bash run_tests.sh --full               the slow modes too (soak, long fuzzing): sets QIS_FULL=1
#   bash run_tests.sh tests/unit -k queue  anything else goes to pytest; named paths replace the usual ones
# Every stage runs even if an earlier one failed; the exit status is 0 only if all passed.
# shellcheck disable=SC2317  # stage() calls most functions by their names
set -u
cd "$(dirname "$0")" || exit 1

fast=no
named_paths=no
pytest_arguments=()
for argument in "$@"; do
    case "$argument" in
        --fast) fast=yes ;;
        --full) export QIS_FULL=1 ;;
        *)
            pytest_arguments+=("$argument")
            # A node id such as tests/unit/test_x.py::test_y names a path too.
            if [ -e "${argument%%::*}" ]; then named_paths=yes; fi
            ;;
    esac
done

failed=0
stages=""
pytest_log=$(mktemp)
trap 'rm -f "$pytest_log"' EXIT

stage() {
    local name="$1" started=$SECONDS result=passed
    shift
    echo
    echo "== $name"
    "$@" || { result=FAILED; failed=1; }
    stages="$stages$(printf '%-22s %s, %d s' "$name" "$result" $((SECONDS - started)))"$'\n'
    echo "== $name: $result, $((SECONDS - started)) s"
}

set_up() {
    bash start_server.sh --install-only && .venv/bin/python tools/setup_environment.py --dev && install_node_sdk
}

# The OpenAI SDK for Node, for the example that uses it; without Node its test skips itself.
install_node_sdk() {
    [ -d examples/node/node_modules/openai ] || ! command -v npm >/dev/null ||
        npm install --prefix examples/node --no-audit --no-fund --no-package-lock --loglevel=error
}

browser_is_missing() {
    ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null
}

install_browser() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; }
    else
        echo "The browser tests need Chromium; install it with your system's package manager."
        return 1
    fi
}

# Runs pytest and keeps its last line for the total; status 5 means that a filter left nothing to run here.
run_pytest() {
    .venv/bin/python -m pytest "$@" ${pytest_arguments[@]+"${pytest_arguments[@]}"} 2>&1 | tee -a "$pytest_log"
    local status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || { [ "$status" = 5 ] && [ ${#pytest_arguments[@]} -gt 0 ]; }
}

# Two processes with one thread each: on two cores that is faster than one process with two threads.
unit_tests() {
    OMP_NUM_THREADS=1 run_pytest tests/unit -n 2 --dist loadgroup
}

# Two processes that run whole files: the tests of a file share servers, and mostly wait for them. Threads that spin
# while they wait would starve each other.
integration_tests() {
    OMP_WAIT_POLICY=PASSIVE run_pytest tests/integration tests/gpu -m "not alone" -n 2 --dist loadfile
}

timed_tests() {
    run_pytest tests/integration -m alone
}

# In a process of their own: Playwright keeps an event loop running, which rules out tests of asyncio clients.
browser_tests() {
    run_pytest tests/browser
}

print_total() {
    grep -E '^=+ .*[0-9.]+s( \([0-9:]+\))? =+$' "$pytest_log" | .venv/bin/python -c '
import re, sys
total = {}
for line in sys.stdin:
    for number, outcome in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)", line):
        outcome = "error" if outcome == "errors" else outcome
        total[outcome] = total.get(outcome, 0) + int(number)
print("All tests:", ", ".join(f"{number} {outcome}" for outcome, number in total.items()) or "none ran")'
}

stage "set-up" set_up
if [ "$failed" = 1 ]; then
    echo "The tests cannot run before the set-up succeeds." >&2
    exit 1
fi
stage "ruff check" .venv/bin/ruff check .
stage "ruff format" .venv/bin/ruff format --check .
stage "mypy" .venv/bin/mypy
stage "import law" .venv/bin/lint-imports --no-logo
stage "spelling" .venv/bin/codespell
if [ "$named_paths" = yes ]; then
    stage "pytest" run_pytest
else
    stage "unit tests" unit_tests
    if [ "$fast" = no ]; then
        if browser_is_missing; then stage "browser" install_browser; fi
        stage "integration tests" integration_tests
        stage "timed tests" timed_tests
        stage "browser tests" browser_tests
    fi
fi

echo
printf '%s' "$stages"
print_total
exit "$failed"
