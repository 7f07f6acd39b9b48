"""The tutorial, block by block as it stands there: in a shell, beside the sandbox that it starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import airflow
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```(bash|python|text|yaml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
INSTALLED = re.findall(r"^pip install .*'apache-airflow==([\d.]+)'", PAGE, re.MULTILINE)
SANDBOX = "python -m airflow_provider_anyformat.sandbox "
# What needs the package index, and what runs until somebody ends it.
NOT_HERE = ("pip install", "airflow standalone")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    foreign = ("AIRFLOW", "COV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # As if the environment was that of ".tutorial/bin/activate".
    activate = tmp_path / ".tutorial" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text("")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / ".tutorial" / "airflow" / "dags")}


@pytest.fixture
def sandbox(environment: dict[str, str], tmp_path: Path) -> Iterator[list[str]]:
    """Run the second terminal's command, and give what it prints; only the port is another one."""
    (block,) = [text for kind, text in BLOCKS if kind == "bash" and SANDBOX in text]
    command = re.sub(r"--port \d+", "--port 0", block.replace(SANDBOX, f"exec {SANDBOX}"))
    with subprocess.Popen(
        ["bash", "-e"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(command)
            process.stdin.close()
            yield [process.stdout.readline() for _ in range(4)]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)


def in_place_of_the_page_s(block: str, printed: list[str]) -> str:
    """Put in what this sandbox printed, as the page asks the reader to."""
    (key,) = re.findall(r"key: (\S+)", printed[1])
    (workflow_id,) = re.findall(r"workflow: (\S+)", printed[2])
    assert f'"password": "{key}"' in printed[3]
    block = re.sub(r"^export AIRFLOW_CONN_.*\n", lambda _: printed[3], block, flags=re.MULTILINE)
    return re.sub(r"(?<=INVOICES_WORKFLOW=)\S+", workflow_id, block)


def changing(text: str) -> str:
    """Take out of a text what is another one each time: ports and ids."""
    return re.sub(r":\d{4,5}|[0-9a-f-]{36}", "…", text)


@pytest.mark.skipif(airflow.__version__ != INSTALLED[0], reason=f"the tutorial installs Airflow {INSTALLED[0]}")
@pytest.mark.timeout(900)
def test_every_block(sandbox: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    saved = iter(re.findall(r"`(\.tutorial/airflow/dags/\w+\.(?:py|yaml))`", PAGE))
    exports, output, ran = "set -e\n", "", []
    for kind, block in BLOCKS:
        if kind in ("python", "yaml"):
            (tmp_path / next(saved)).write_text(block)
        elif kind == "text":
            for line in changing(block).splitlines():
                assert line.strip() in changing(output)
        elif SANDBOX in block:
            output = "".join(sandbox)
        elif not any(word in block for word in NOT_HERE):
            ran.append(block)
            command = in_place_of_the_page_s(block, sandbox)
            done = subprocess.run(
                ["bash", "-c", exports + command],
                env=environment,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=240,
                check=False,
            )
            output = done.stdout
            assert done.returncode == 0, output
            exports += "".join(line + "\n" for line in command.splitlines() if line.startswith("export "))

    assert next(saved, None) is None
    assert sum("dags test" in block for block in ran) == 5
    ledger = tmp_path / ".tutorial" / "ledger"
    purge, nothing_left = sorted(ledger.glob("nightly_purge/**/summary.json"))
    (by_rule,) = ledger.glob("anyformat_retention_invoices/**/summary.json")
    assert json.loads(by_rule.read_text())["deleted"] == 28
    assert json.loads(purge.read_text())["deleted"] == 55
    assert json.loads(nothing_left.read_text())["deleted"] == 0
    rows = [json.loads(row) for row in (purge.parent / "outcomes-00001.jsonl").read_text().splitlines()]
    assert {(row["outcome"], row["http_status"]) for row in rows} == {("deleted", 204)}
    assert not (nothing_left.parent / "outcomes-00001.jsonl").exists()
