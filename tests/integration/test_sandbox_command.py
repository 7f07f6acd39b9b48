"""The sandbox from a shell and from pytest, as users start it."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_anyformat.sandbox import Sandbox
from airflow_provider_anyformat.sandbox.__main__ import _parser, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "airflow_provider_anyformat.sandbox"]
# What a machine without the extra is like, for a process that runs this first.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_spec(finder, name, path=None, target=None):
    return None if name.partition(".")[0] in {missing!r} else find(name, path, target)
PathFinder.find_spec = classmethod(find_spec)
"""


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run the command; give its process and what it printed by name."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        (export,) = (shlex.split(line)[1] for line in lines if line.startswith("export "))
        name, _, value = export.partition("=")
        yield (
            process,
            {
                "url": re.findall(r"http://127\.0\.0\.1:\d+", lines[0])[0],
                "key": lines[1].split()[1],
                "workflow": lines[2].split()[1],
                name: value,
            },
        )
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_answers_and_ends_cleanly(ending: signal.Signals) -> None:
    with started("--key", "af_of_this_test", "--collections", "50", "--days", "100") as (process, said):
        assert json.loads(said["AIRFLOW_CONN_ANYFORMAT_DEFAULT"]) == {
            "conn_type": "anyformat",
            "host": said["url"],
            "password": "af_of_this_test",
        }
        headers = {"Authorization": f"Bearer {said['key']}"}
        reply = requests.get(
            f"{said['url']}/v2/workflows/{said['workflow']}/files/?page_size=100", headers=headers, timeout=20
        )
        created = [datetime.fromisoformat(row["created_at"]) for row in reply.json()["results"]]
        assert len(created) == 50
        assert datetime.now(UTC) - max(created) < timedelta(days=3)
        assert timedelta(days=99) < datetime.now(UTC) - min(created) < timedelta(days=101)
        assert reply.headers["x-ratelimit-limit"] == "600"
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=30)
        assert (process.returncode, rest, errors) == (0, "", "")
        with pytest.raises(requests.ConnectionError):
            requests.get(f"{said['url']}/health/", timeout=20)


def test_its_options_reach_the_server() -> None:
    with started(
        *("--rate-limit", "0", "--page-size-cap", "7", "--second-delete-status", "410", "--submit-body", "id"),
        *("--any-id", "--no-file-ids", "--processing-seconds", "0", "--window", "5", "--collections", "9"),
        *("--failure-status", "412"),
    ) as (_, said):
        headers = {"Authorization": f"Bearer {said['key']}"}
        workflow = f"{said['url']}/v2/workflows/{said['workflow']}"
        listing = requests.get(f"{workflow}/files/", headers=headers, timeout=20)
        assert (listing.json()["count"], listing.json()["page_size"]) == (9, 7)
        assert not [name for name in listing.headers if "ratelimit" in name.lower()]
        assert "file_id" not in listing.json()["results"][0]
        submitted = requests.post(f"{workflow}/run/", headers=headers, files={"file": b"x"}, timeout=20)
        assert list(submitted.json()) == ["id"]
        assert submitted.headers["x-ratelimit-reset"] == "5"
        results = requests.get(f"{workflow}/files/{submitted.json()['id']}/results/", headers=headers, timeout=20)
        assert results.status_code == 200
        path = f"{said['url']}/v2/files/{submitted.json()['id']}/"
        assert [requests.delete(path, headers=headers, timeout=20).status_code for _ in range(2)] == [204, 410]
        requests.post(f"{said['url']}/_sandbox/documents", json={"name": "bad.pdf"}, timeout=20)
        failed = requests.post(f"{workflow}/run/", headers=headers, files={"file": ("bad.pdf", b"x")}, timeout=20)
        results = requests.get(f"{workflow}/files/{failed.json()['id']}/results/", headers=headers, timeout=20)
        assert (results.status_code, results.json()["retryable"]) == (412, False)
        assert requests.delete(f"{said['url']}/v2/files/plain/", headers=headers, timeout=20).status_code == 404


def test_help_shows_the_defaults_that_a_sandbox_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "(default: 8765)" in said
    assert not re.search(r"default: (True|False|None)", said)
    given = vars(_parser().parse_args([]))
    own = {name: value for name, value in given.items() if name not in ("port", "collections", "days")}
    assert own == {name: getattr(Sandbox(), name) for name in own}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--port", "70000"], "'70000' is not a whole number from 0 to 65535", id="port"),
        pytest.param(["--collections", "-1"], "'-1' is not a whole number of at least 0", id="negative"),
        pytest.param(["--rate-limit", "1.5"], "'1.5' is not a whole number", id="fraction"),
        pytest.param(["--latency", "soon"], "'soon' is not a number of at least 0", id="text"),
        pytest.param(["--window", "inf"], "'inf' is not a number of at least 0.1", id="endless"),
        pytest.param(["--latency", "nan"], "'nan' is not a number", id="not a number"),
        pytest.param(["--key", "short"], "8 or more printable ASCII characters", id="short key"),
        pytest.param(["--key", "af with blanks"], "8 or more printable ASCII characters", id="key with blanks"),
        pytest.param(["--host", "0.0.0.0"], "unrecognized arguments", id="another host"),
    ],
)
def test_bad_options_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_port_that_is_taken_is_said(anyformat_sandbox: Sandbox) -> None:
    taken = subprocess.run(
        [*COMMAND, "--port", str(anyformat_sandbox.port)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (taken.returncode, taken.stdout) == (1, "")
    assert f"--port: {anyformat_sandbox.port} cannot be used" in taken.stderr
    assert "Traceback" not in taken.stderr


def python(code: str, *arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", [["fastapi"], ["uvicorn"], ["python_multipart", "multipart"]])
def test_without_the_extra_the_command_says_what_to_install(missing: list[str]) -> None:
    run = python(
        WITHOUT.format(missing=missing)
        + "import runpy\nsys.argv = ['sandbox', '--port', '0']\n"
        + "runpy.run_module('airflow_provider_anyformat.sandbox', run_name='__main__')"
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr == (
        f"the sandbox needs {missing[0]}, which is not installed: pip install 'airflow-provider-anyformat[sandbox]'\n"
    )


# --- pytest ----------------------------------------------------------------------------------------------------------

USERS_TEST = """
import requests

def test_purge(anyformat_sandbox):
    workflow_id = anyformat_sandbox.add_workflow()
    (collection_id,) = anyformat_sandbox.fill(workflow_id, 1)
    headers = {"Authorization": f"Bearer {anyformat_sandbox.key}"}
    assert requests.delete(f"{anyformat_sandbox.url}/v2/files/{collection_id}/", headers=headers).status_code == 204
    assert anyformat_sandbox.deleted == {collection_id: 1}

def test_the_next_one_has_its_own(anyformat_sandbox):
    assert anyformat_sandbox.deleted == {}
    assert anyformat_sandbox.requests == []

def test_that_uses_none():
    pass
"""


def users_pytest(folder: Path, *, without: list[str]) -> Any:
    (folder / "test_users.py").write_text(USERS_TEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    run = "import pytest\nraise SystemExit(pytest.main(sys.argv[1:]))"
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    return python(WITHOUT.format(missing=without) + run, str(folder), *options)


def test_the_fixture_is_there_for_users_through_the_entry_point(tmp_path: Path) -> None:
    run = users_pytest(tmp_path, without=[])
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


def test_without_the_extra_only_the_tests_that_use_it_fail(tmp_path: Path) -> None:
    run = users_pytest(tmp_path, without=["fastapi"])
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 passed, 2 errors" in run.stdout
    assert "pip install 'airflow-provider-anyformat[sandbox]'" in run.stdout


def test_the_plugin_imports_nothing_but_pytest() -> None:
    run = python("""
        import sys, pytest
        before = set(sys.modules)
        import airflow_provider_anyformat.sandbox.plugin
        new = {name for name in set(sys.modules) - before if not name.startswith(("collections", "importlib"))}
        print(sorted(new))
    """)
    assert run.stdout.strip() == str(
        [
            "airflow_provider_anyformat",
            "airflow_provider_anyformat.sandbox",
            "airflow_provider_anyformat.sandbox.plugin",
        ]
    ), run.stderr


def test_the_package_has_nothing_else_to_offer() -> None:
    import airflow_provider_anyformat.sandbox as package

    with pytest.raises(AttributeError, match="no attribute 'Server'"):
        _ = package.Server
