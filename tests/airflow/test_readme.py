"""The README's DAG and its sandbox command, run as they stand there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.documented import README, blocks


def test_every_dag_of_the_readme(dag_runner: Any, anyformat_sandbox: Any, tmp_path: Path) -> None:
    sources = blocks("README.md")
    assert len(sources) == 2
    dag_runner.connect(json.loads(anyformat_sandbox.conn_json()))
    workflow_id = anyformat_sandbox.add_workflow("11111111-2222-4333-8444-555555555555")
    due = anyformat_sandbox.add_collection(workflow_id, created_at="2026-01-01T00:00:00Z")
    document = tmp_path / "invoice.txt"
    document.write_text("Invoice 4711, total 99.00 EUR")
    for text in sources:
        # The one thing that a test may not take from the README: a folder outside its own.
        source = text.replace("file:///tmp/", f"{tmp_path.as_uri()}/")
        result = dag_runner.run(source, conf={"document": str(document)})

        assert result.state == "success", result.log
    (run,) = anyformat_sandbox.created
    assert anyformat_sandbox.deleted == {due: 1, run: 1}
    assert (tmp_path / "anyformat-results" / workflow_id / f"{run}.json").exists()


def test_sandbox_command() -> None:
    (line,) = re.findall(r"^python -m airflow_provider_anyformat\.sandbox .*$", README, re.MULTILINE)
    words = shlex.split(line)
    # Another port than the one that a person would pick, for this one may be taken.
    words[words.index("--port") + 1] = "0"
    with subprocess.Popen([sys.executable, *words[1:]], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "http://127.0.0.1:" in "".join(process.stdout.readline() for _ in range(3))
        finally:
            process.terminate()
        assert process.wait(20) == 0
