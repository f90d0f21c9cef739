#!/usr/bin/env bash
# Set everything up on a fresh machine, then run lint, types, the import law, spelling and all tests.
#   bash run_tests.sh                      everything but the slow modes
#   bash run_tests.sh --fast               unit tests only
#   bash run_tests.sh --full               the slow modes too (soak, long fuzzing): sets QIS_FULL=1
#   bash run_tests.sh tests/unit -k queue  anything else goes to pytest; named paths replace the usual ones
# Every stage runs even if an earlier one failed; the exit status is 0 only if all passed.
# shellcheck disable=SC2317  # stage() and begin() call most functions by their names
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
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

stage() {
    local name="$1" started=$SECONDS result=passed
    shift
    printf '\n== %s\n' "$name"
    "$@" || result=FAILED
    record "$name" "$result" $((SECONDS - started))
}

record() {
    [ "$2" = passed ] || failed=1
    stages="$stages$(printf '%-22s %s, %d s' "$1" "$2" "$3")"$'\n'
    echo "== $1: $2, $3 s"
}

# Begins a stage beside the following ones; `finish` waits for its end, if it was begun, and shows what it said.
begin() {
    local log="$logs/$1"
    shift
    {
        SECONDS=0
        if "$@"; then echo "passed $SECONDS" >"$log.result"; else echo "FAILED $SECONDS" >"$log.result"; fi
    } >"$log" 2>&1 &
    echo $! >"$log.pid"
}

finish() {
    [ -e "$logs/$1.pid" ] || return 0
    local result seconds
    wait "$(cat "$logs/$1.pid")"
    printf '\n== %s\n' "$1"
    cat "$logs/$1"
    read -r result seconds <"$logs/$1.result"
    record "$1" "$result" "$seconds"
}

# pip would compile on one core while it installs. (The variable says no to that, whatever its name says.) Some packages
# have templates that are no Python and cannot be compiled.
set_up() {
    export PIP_NO_COMPILE=0
    bash start_server.sh --install-only && .venv/bin/python tools/setup_environment.py --dev || return 1
    .venv/bin/python -m compileall -qq -j 0 .venv/lib .venv/optional || true
}

# The OpenAI SDK for Node, for the example that uses it, axe-core, puppeteer-core, which drives Firefox, and dclint,
# which reads Compose's files; without npm their tests skip themselves, and in a worktree without them those of the page
# fail with the line that installs them.
install_node_packages() {
    local folder
    command -v npm >/dev/null || return 0
    for folder in examples/node tests/browser tests/unit/deploy; do
        # npm writes that file last; an older one is from before a package was added.
        [ "$folder/node_modules/.package-lock.json" -nt "$folder/package.json" ] ||
            npm install --prefix "$folder" --no-audit --no-fund --no-package-lock --loglevel=error || return 1
    done
}

chromium_is_missing() {
    ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null
}

firefox_is_missing() {
    ! command -v firefox-esr >/dev/null && ! command -v firefox >/dev/null
}

install_browsers() {
    if firefox_is_missing && ! install_package firefox-esr; then
        echo "Firefox cannot be installed here; its tests skip themselves."
    fi
    if chromium_is_missing && ! install_package chromium; then
        echo "The browser tests need Chromium; install it with your system's package manager."
        return 1
    fi
}

install_package() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    apt-get install -y -qq "$1" >/dev/null || { apt-get update -qq && apt-get install -y -qq "$1" >/dev/null; }
}

# nginx and Caddy for the tests of proxies, Prometheus for those of the alerts: unpacked, because their installation
# would start servers on this machine.
install_other_servers() {
    local name
    for name in nginx caddy prometheus; do
        if command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] || [ -d ".venv/$name/usr" ]; then continue; fi
        mkdir -p ".venv/$name"
        (
            cd ".venv/$name" || exit 1
            { apt-get download -qq "$name" || { apt-get update -qq && apt-get download -qq "$name"; }; } >/dev/null 2>&1 &&
                dpkg-deb -x "$name"_*.deb .
        ) || echo "$name cannot be installed here; the tests behind it skip themselves."
    done
}

# What the container's file is tried with, in the full mode.
install_debootstrap() {
    command -v debootstrap >/dev/null || install_package debootstrap ||
        echo "debootstrap cannot be installed here; the tests of deploy/Dockerfile skip themselves."
}

# Runs pytest and keeps its last line for the total; status 5 means that a filter left nothing to run here.
run_pytest() {
    .venv/bin/python -m pytest "$@" ${pytest_arguments[@]+"${pytest_arguments[@]}"} 2>&1 | tee -a "$logs/pytest"
    local status=${PIPESTATUS[0]}
    [ "$status" = 0 ] || { [ "$status" = 5 ] && [ ${#pytest_arguments[@]} -gt 0 ]; }
}

# Two processes with one thread each: on two cores that is faster than one process with two threads.
unit_tests() {
    OMP_NUM_THREADS=1 run_pytest tests/unit -n 2 --dist loadgroup
}

# Processes that run whole files, because the tests of a file share servers; often they wait for them, so there is one
# more than two cores need. Threads that spin while they wait would starve the others.
integration_tests() {
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE \
        run_pytest tests/integration tests/browser tests/gpu -m "not alone" -n 3 --dist loadfile \
        --no-loadscope-reorder
}

timed_tests() {
    run_pytest tests/integration -m alone
}

print_total() {
    grep -aE '^=+ .*[0-9.]+s( \([0-9:]+\))? =+$' "$logs/pytest" | .venv/bin/python -c '
import re, sys
total = {}
for line in sys.stdin:
    for number, outcome in re.findall(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|deselected)", line):
        outcome = "error" if outcome == "errors" else outcome
        total[outcome] = total.get(outcome, 0) + int(number)
print("All tests:", ", ".join(f"{number} {outcome}" for outcome, number in total.items()) or "none ran")'
}

if [ "$fast" = no ]; then
    begin "packages of Node" install_node_packages
    if [ "$named_paths" = no ] && { chromium_is_missing || firefox_is_missing; }; then
        begin "browsers" install_browsers
    fi
fi
stage "set-up" set_up
if [ "$failed" = 1 ]; then
    echo "The tests cannot run before the set-up succeeds." >&2
    exit 1
fi
finish "packages of Node"
finish "browsers"
if [ -n "${QIS_FULL:-}" ] && [ "$named_paths" = no ] && [ "$fast" = no ]; then
    stage "debootstrap" install_debootstrap
fi
begin "other servers" install_other_servers
# It uses one core, and alone would leave the others idle.
begin "mypy" .venv/bin/mypy
stage "ruff check" .venv/bin/ruff check .
stage "ruff format" .venv/bin/ruff format --check .
stage "import law" .venv/bin/lint-imports --no-logo
stage "spelling" .venv/bin/codespell
finish "other servers"
if [ "$named_paths" = yes ]; then
    stage "pytest" run_pytest
    finish "mypy"
else
    stage "unit tests" unit_tests
    finish "mypy"
    if [ "$fast" = no ]; then
        stage "integration, browser" integration_tests
        stage "timed tests" timed_tests
    fi
fi

echo
printf '%s' "$stages"
print_total
exit "$failed"
