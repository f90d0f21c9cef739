"""An engine without PyTorch, as on a front that only serves HTTP, says what is missing instead of a traceback."""

import socket
import subprocess
import sys

from imageserver.protocol.channel import Address, Channel
from imageserver.protocol.engine_config import EngineConfig
from imageserver.protocol.messages import Hello, LoadFailed, LoadProgress
from imageserver.settings import Settings
from tests.support.paths import ROOT

# Python's own way to say that a module must not be found.
WITHOUT_TORCH = (
    "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('imageserver.engine', None, '__main__')"
)


def test_an_engine_without_torch_says_what_to_install(tmp_path):
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        config = EngineConfig(Settings(_env_file=None, state_dir=tmp_path), Address(str(path), None, "key"), None, None)
        with subprocess.Popen(
            [sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as engine:
            assert engine.stdin is not None
            assert engine.stderr is not None
            engine.stdin.write(config.write())
            engine.stdin.close()
            listener.settimeout(30)
            connection, _ = listener.accept()
            channel = Channel(connection)
            heard = [channel.receive()[0] for _ in range(3)]
            channel.close()
            assert b"Traceback" not in engine.stderr.read()
    assert [type(message) for message in heard] == [Hello, LoadProgress, LoadFailed]
    assert heard[2].sentence == (
        "PyTorch is not installed; pip install 'qwen-image-server[engine]' brings it and the rest."
    )
