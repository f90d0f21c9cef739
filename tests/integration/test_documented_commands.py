"""The command lines of the operators' pages do what they are shown for."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.certificate import IS_POSSIBLE, certify
from tests.support.docs import BLOCK, PAGES
from tests.support.documented_commands import NOT_RUN, RUN_HERE, Block, blocks_of, is_tested
from tests.support.nginx import FRAME, Nginx
from tests.support.paths import ROOT
from tests.support.prometheus import MISSING, PROMETHEUS, PROMTOOL, QUICK, Prometheus, alerts
from tests.support.server import free_port

OPERATIONS = ROOT / "docs" / "operations.md"
OPERATORS_PAGES = [page for page in PAGES if page.name in ("operations.md", "troubleshooting.md")]
SECTION = re.compile(r"^(?=#{2,3} |> )", re.MULTILINE)
PROGRAMS = "bash|curl|docker|helm|kill|lsof|netstat|nvidia-smi|sqlite3|systemctl|systemd-analyze|\\.venv/bin/python"
INLINE = re.compile(rf"`((?:[A-Z_]+=\S+ )*(?:{PROGRAMS})(?: [^`]+)?)`")
# What a section says of lines in its text that nobody has run.
UNTRIED = re.compile(r"\b(not run|[Uu]ntried|which the tests of this page do not have)\b")
# Under Debian's Prometheus; here they are in a folder of the test.
ETC = "/etc/prometheus"


def block_with(line: str) -> Block:
    [found] = [block for block in blocks_of(OPERATIONS) if line in block.content]
    return found


def test_no_command_in_the_text_is_shown_that_nobody_has_run_without_saying_so():
    sections = [text for page in OPERATORS_PAGES for text in SECTION.split(page.read_text(encoding="utf-8"))]
    shown = [(line, text) for text in sections for line in INLINE.findall(BLOCK.sub("", text))]
    assert len(shown) > 10
    said = [line for line, text in shown if UNTRIED.search(text) or NOT_RUN.search(text)]
    assert [line for line, _ in shown if line not in (*said, *RUN_HERE) and not is_tested(line)] == []


@pytest.mark.parametrize("line", RUN_HERE)
def test_a_command_line_does_what_it_is_shown_for(line, fake_server):
    program, expected = RUN_HERE[line]
    if program and shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    assert any(line in page.read_text(encoding="utf-8") for page in OPERATORS_PAGES)
    printed = run(line.replace(":5000", f":{fake_server.port}"), fake_server.folder)
    assert expected in re.sub(r'": ', '":', printed)
    if program == "sqlite3":
        assert (fake_server.folder / "state-backup.sqlite").stat().st_size > 0


def run(command: str, folder: Path) -> str:
    """Run a command in a folder; it must succeed. Return what it printed."""
    environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*"}
    ended = subprocess.run(
        ["bash", "-euc", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_reader_of_the_operators_page_gets_a_locked_server_with_these_lines(servers, tmp_path):
    """The key, the two requests and Prometheus, with a server that is started with that key as the page says."""
    key_line = next(line for line in block_with("openssl rand -hex 24 > key.txt").lines if "key.txt" in line)
    run(key_line, tmp_path)
    key = (tmp_path / "key.txt").read_text().strip()
    assert (tmp_path / "key.txt").stat().st_mode & 0o077 == 0
    server = servers(API_KEYS=key)
    asking = block_with("curl http://127.0.0.1:5000/readyz").content.replace(":5000", f":{server.port}")
    assert '"healthy"' in run(asking, tmp_path)
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "image.png").unlink()
    (tmp_path / ".env").write_text(f"API_KEYS={key}\nMETRICS_KEY={key}\n")
    run(block_with("s/^API_KEYS=//p' .env").content.replace(":5000", f":{server.port}"), tmp_path)
    assert (tmp_path / "image.png").read_bytes().startswith(b"\x89PNG"), "Docker's reader has it in .env"
    assert requests.post(f"{server.url}/generate", json={"prompt": "x"}, timeout=10).status_code == 401
    if PROMETHEUS is None:
        pytest.skip(MISSING)
    configure(tmp_path, server.port)
    prometheus = Prometheus(tmp_path)
    try:
        [scrape] = prometheus.query('up{job="qwen-image-server"}')
        assert scrape["value"][1] == "1", "it has the key"
        assert {rule["name"] for rule in prometheus.rules()} == {alert["alert"] for alert in alerts()}
    finally:
        prometheus.stop()


def test_the_key_of_a_server_under_systemd_is_where_the_page_takes_it_from(tmp_path):
    made = [line for line in block_with("useradd --system").lines if "/etc/qwen-image-server.env" in line]
    copied = block_with("s/^API_KEYS=//p' /etc").lines
    run("\n".join([*made, *copied]).replace("/etc/", f"{tmp_path}/"), tmp_path)
    assert re.fullmatch("[0-9a-f]{48}\n", (tmp_path / "key.txt").read_text())
    assert (tmp_path / "key.txt").stat().st_mode & 0o077 == 0


def test_dockers_reader_gets_keys_once_and_finds_them_where_compose_does(tmp_path):
    [line] = [line for line in block_with("METRICS_KEY=$key").lines if "METRICS_KEY" in line]
    run(line, tmp_path)
    written = (tmp_path / ".env").read_text()
    assert re.fullmatch(r"API_KEYS=([0-9a-f]{48})\nMETRICS_KEY=\1\nGRAFANA_PASSWORD=[0-9a-f]{24}\n", written)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    run(line, tmp_path)
    assert (tmp_path / ".env").read_text() == written, "Grafana keeps the first"
    (tmp_path / ".env").write_text("TORCH_INDEX_URL=https://mirror.example/cpu\n")
    run(line, tmp_path)
    assert "\nAPI_KEYS=" in (tmp_path / ".env").read_text(), "also where the file was there before"


def test_the_database_of_a_container_is_copied_while_its_server_runs(fake_server, tmp_path):
    [line] = [line for line in block_with("/state/backup.sqlite").lines if "python -c" in line]
    own = line.removeprefix("docker compose exec -T server ").replace("/state/state", "state/state")
    run(own.replace("python", sys.executable).replace("/state/backup", f"{tmp_path}/backup"), fake_server.folder)
    with contextlib.closing(sqlite3.connect(tmp_path / "backup.sqlite")) as copy:
        assert copy.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0] > 0


def test_the_commands_of_a_service_get_the_folders_of_its_unit_and_its_settings(tmp_path):
    [line] = block_with("runuser -u qwen-image-server").lines
    (tmp_path / "qwen-image-server.env").write_text("# mine\nOUTPUT_DIR=/srv/images\nSTYLES_FILE='/srv/my styles'\n")
    own = re.sub("runuser -u qwen-image-server -- .*", "env)", line).replace("/etc/", f"{tmp_path}/")
    printed = run(own, ROOT).splitlines()
    assert "OUTPUT_DIR=/srv/images" in printed, "as systemd does it, the file wins"
    assert "STYLES_FILE=/srv/my styles" in printed
    assert "MODELS_DIR=/var/lib/qwen-image-server/models" in printed
    assert "HOME=/var/cache/qwen-image-server" in printed


@pytest.mark.skipif(Nginx.executable is None or not IS_POSSIBLE, reason="there is no nginx, or no openssl")
def test_nginx_reads_what_the_lines_for_it_write(tmp_path):
    live = tmp_path / "letsencrypt" / "live" / "own.example"
    live.mkdir(parents=True)
    certify(live / "fullchain.pem", live / "privkey.pem")
    site, log = tmp_path / "site.conf", tmp_path / "error.log"
    [line] = [line for line in block_with("certbot certonly").lines if line.startswith("sed ")]
    line = line.replace("/etc/letsencrypt", f"{tmp_path}/letsencrypt").replace(
        "/etc/nginx/conf.d/qwen-image-server.conf", str(site)
    )
    run(f"name=own.example\n{line}", ROOT)
    assert "images.example" not in re.sub("^#.*$", "", site.read_text(), flags=re.MULTILINE)
    # It opens the port that it is to listen on.
    site.write_text(site.read_text().replace("listen 443 ", f"listen 127.0.0.1:{free_port()} "))
    frame = tmp_path / "nginx.conf"
    frame.write_text(FRAME.format(user="", folder=tmp_path))
    subprocess.run([Nginx.executable, "-t", "-p", tmp_path, "-c", frame, "-e", log], check=True, capture_output=True)


def configure(folder: Path, port: int) -> None:
    """Run the lines of the page that give Debian's Prometheus its files, in a folder instead of /etc."""
    # The first line installs the group and promtool, the last one restarts the service.
    _, *ours, _ = block_with("promtool check config").lines
    command = "\n".join(ours).replace("127.0.0.1:5000", f"127.0.0.1:{port}").replace(" -g prometheus", "")
    command = command.replace("key.txt", f"{folder}/key.txt").replace(ETC, str(folder))
    assert "SUCCESS" in run(command.replace("promtool check", f"{PROMTOOL} check"), ROOT)
    written = folder / "prometheus.yml"
    content = yaml.safe_load(written.read_text(encoding="utf-8"))
    # Only quicker.
    written.write_text(yaml.safe_dump(content | {"global": QUICK}))
