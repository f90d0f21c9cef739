#!/usr/bin/env bash
# Start the server on Linux and macOS; the first start sets up .venv. Settings are environment variables or .env.
#   bash start_server.sh --help             show the flags
#   bash start_server.sh                    set up if needed, then serve
#   PORT=5001 MODEL=demo bash start_server.sh
#   HOST=0.0.0.0 API_KEYS=KEY bash start_server.sh     open it to the network (without keys: ALLOW_OPEN=1)
#   bash start_server.sh --install-only     set up without serving
#   CLUSTER=head bash start_server.sh       serve, and let other machines offer their devices
#   CLUSTER_TOKEN=… bash start_server.sh --join HOST:PORT   offer this machine's, until Ctrl+C
#   bash start_server.sh -m /data/HiDream-I1-Full -e /data/Llama-3.1-8B-Instruct -d 0,1 --port 8088   as HiDream's script
# Other arguments go to gunicorn, after -- all of them. TORCH_INDEX_URL names another package index for PyTorch.
set -eu
cd "$(dirname "$0")"

fail() {
    echo "$1" >&2
    exit 1
}

# A candidate may be a shim, too old, or without the venv module: only running it shows.
is_suitable() {
    "$1" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_suitable "$PYTHON" || return 1
        echo "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3 python; do
        if is_suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

python_needed="No Python 3.11 or newer with its venv module was found${PYTHON:+ at PYTHON=$PYTHON}; install one (Debian and \
Ubuntu: apt install python3 python3-venv, macOS: brew install python@3.13) or name it: PYTHON=/path/to/python3 bash start_server.sh"

set_up() {
    # An interrupted set-up, or a Python that was replaced underneath, leaves an environment without a working pip.
    if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        python=$(find_python) || fail "$python_needed"
        echo "First start: creating .venv with $("$python" --version). Installing the packages takes a few minutes, once."
        "$python" -m venv --clear .venv || fail "The virtual environment .venv could not be created; the message above says why."
    fi
    .venv/bin/python tools/setup_environment.py
}

for argument; do
    case "$argument" in
        --) break ;;
        -h | --help)
            cat tools/start_help.txt
            exit 0
            ;;
    esac
done

if [ "${1:-}" = --join ]; then
    export CLUSTER="${2:-}"
fi

if ! { [ -x .venv/bin/python ] && .venv/bin/python -I -S tools/setup_environment.py --check; }; then
    set_up
fi

if [ "${1:-}" = --install-only ]; then
    echo "Everything is installed in .venv; bash start_server.sh starts the server."
    exit 0
fi

if [ "${1:-}" = --join ]; then
    exec .venv/bin/python -m imageserver.cluster "$@"
fi

exec .venv/bin/python tools/start_flags.py "$@"
