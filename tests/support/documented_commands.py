"""The command lines of the documents: which of them a test runs, and which pages say that none does."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.docs import BLOCK, PAGES
from tests.support.paths import ROOT

USERS_PAGES = [page for page in PAGES if page.parent == ROOT / "docs" or page == ROOT / "README.md"]
# Of a page: a heading of any depth, or a block.
PARTS = re.compile(rf"^#+ [^\n]*$|{BLOCK.pattern}", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"Not run by the tests: it needs [^.]+\.")
COMMENT = re.compile(r"\s+# .*$")

# Lines that a test runs against a server as they stand: the program that they need, and what they must print.
RUN_HERE = {
    "curl localhost:5000/health": ("curl", '"status":"healthy"'),
    "curl localhost:5000/startupz": ("curl", '"phase":"ready"'),
    "lsof -i :5000": ("lsof", "LISTEN"),
    """sqlite3 state/state.sqlite ".backup 'state-backup.sqlite'\"""": ("sqlite3", ""),
}
# Lines, with the tests that run what they run.
TESTED = {
    r"((HOST|PORT|WORKERS|THREADS|API_KEYS|PYTHON)=(\$\(.*\)|\S+) )*bash start_server\.sh":
        "test_start_script.py::test_settings_in_the_environment_reach_the_server",
    r"DEVICES=auto bash start_server\.sh":
        "../unit/dispatch/seats/configuration/test_configured_seats.py::test_each_setting_means_its_seats",
    r"CONTROLNET=silhouettes bash start_server\.sh":
        "test_control.py::test_the_shipped_one_puts_things_where_the_silhouettes_are",
    r"CLUSTER=head bash start_server\.sh": "test_cluster.py::test_an_engine_on_another_machine_serves_as_one_here",
    r"OUTPUT_URL=s3://.* bash start_server\.sh":
        "test_s3.py::test_a_saved_image_is_an_object_and_opens_by_its_address",
    r"bash start_server\.sh --install-only":
        "test_start_script.py::test_an_interrupted_first_start_is_resumed_and_the_next_one_needs_no_pip",
    r"bash start_server\.sh -m /data.*":
        "../unit/tools/test_start_flags.py::test_the_documents_full_command_names_models_cards_and_address",
    r"(CLUSTER_TOKEN=… )?bash start_server\.sh --join .*":
        "test_cluster.py::test_an_engine_on_another_machine_serves_as_one_here",
    r"TRUSTED_PROXIES=.* bash start_server\.sh": "test_behind_proxies.py::test_the_link_of_a_saved_image_leads_to_it",
    r"HF_AUTH=.* bash start_server\.sh":
        "test_hub_tokens.py::test_an_organisation_lets_its_members_in_and_strangers_are_403",
    r"export (AWS|FSSPEC)_\w+=.*": "test_s3.py::test_a_saved_image_is_an_object_and_opens_by_its_address",
    r"\(umask 077; openssl rand .*\)|curl http://127\.0\.0\.1:5000/(readyz|generate -H .*)":
        "test_documented_commands.py::test_the_reader_of_the_operators_page_gets_a_locked_server_with_these_lines",
    r"\(umask 077; sed .*\)":
        "test_documented_commands.py::test_the_key_of_a_server_under_systemd_is_where_the_page_takes_it_from",
    r"\(set -a; .*; runuser -u qwen-image-server -- .*\)":
        "test_documented_commands.py::test_the_commands_of_a_service_get_the_folders_of_its_unit_and_its_settings",
    r"kill -(USR2|TERM) OLD_PID|kill -HUP":
        "test_upgrades.py::test_a_reload_and_an_upgrade_drop_no_request_of_fifty_clients",
    r"kill -STOP": "test_faults_engine.py::test_deaf_engine_is_replaced_and_its_job_answered_with_504",
    r"bash run_tests\.sh": "../unit/test_start_script.py::test_continuous_integration_runs_what_everybody_runs",
    r"\.venv/bin/python qwen_image_server\.py generate .*|pip install '\.\[engine\]'":
        "test_wheel.py::test_the_command_generates_an_image_in_any_folder",
    r"(qwen-image-server|\.venv/bin/python qwen_image_server\.py) serve( .*)?":
        "test_wheel.py::test_the_command_serves_its_page_and_keeps_its_state_in_the_folder_it_is_started_in",
    r"(echo .* \| )?qwen-image-server generate .*":
        "test_command_line.py::test_a_prompt_from_stdin_and_an_image_from_a_file_reach_the_server",
    r"(qwen-image-server|\.venv/bin/python qwen_image_server\.py) doctor( --json)?":
        "../unit/cli/test_doctor.py::test_the_command_finds_that_the_demo_model_can_be_served",
    r"qwen-image-server models pull .*": "../unit/cli/test_models.py::test_pulling_finds_the_files_as_a_start_would",
    r"qwen-image-server keys new .*": "../unit/cli/test_keys.py::test_a_new_key_is_printed_once_and_opens_the_server",
    r"source <\(qwen-image-server completion bash\)":
        "../unit/cli/test_completion.py::test_bash_completes_what_was_begun",
    r"source <\(qwen-image-server completion zsh\)": "../unit/cli/test_completion.py::test_zsh_reads_its_script",
    r"qwen-image-server completion fish .*": "../unit/cli/test_completion.py::test_fish_completes_what_was_begun",
    r"\.venv/bin/python test_(connectivity|client)\.py .*":
        "test_client_scripts.py::test_all_checks_of_the_client_pass_and_keep_what_they_saw",
    r"\.venv/bin/python test_concurrent\.py .*":
        "test_client_scripts.py::test_comparison_of_a_real_server_has_a_table_and_a_chart",
    r"curl .*/v1/models/load .*": "test_models.py::test_the_usual_model_is_chosen_and_a_failed_choice_leaves_it",
    r"curl .* -F layers=3 .*":
        "test_qwen_image_layered.py::test_a_zip_holds_the_stock_pipelines_layers_with_their_transparency",
    r"curl .* -F control_image=@disc\.png .*|\.venv/bin/python -c .*disc\.png.*":
        "test_control.py::test_the_shipped_one_puts_things_where_the_silhouettes_are",
    r"curl .*https://images\.example/v1/gallery.*":
        "test_gallery.py::test_saved_images_and_those_of_tasks_are_listed_with_thumbnails_and_can_be_deleted",
    r"""curl .*"loras": \[.*""": "test_loras.py::test_an_image_is_generated_with_them_and_the_next_one_without",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block, with what the page says of it from there to the next block or heading."""

    page: Path
    language: str
    content: str
    said: str

    @property
    def lines(self) -> list[str]:
        """The command lines, without comments; a line that goes on in the next is one."""
        whole = self.content.replace("\\\n", " ").splitlines()
        return [line for text in whole if (line := re.sub(" +", " ", COMMENT.sub("", text)).strip())]

    @property
    def is_marked(self) -> bool:
        return NOT_RUN.search(self.said) is not None


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    parts = list(PARTS.finditer(text))
    ends = [*(part.start() for part in parts[1:]), len(text)]
    for part, end in zip(parts, ends, strict=True):
        if part[2] is not None:
            yield Block(page, part[1], textwrap.dedent(part[2]), text[part.end() : end])


def is_tested(line: str) -> bool:
    """Return whether a test runs a line; the test must be there, and not only its file."""
    for pattern, name in TESTED.items():
        if re.fullmatch(pattern, line):
            file, _, function = name.partition("::")
            text = (ROOT / "tests" / "integration" / file).read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {function}\(", text, re.MULTILINE), name
            return True
    return False
