"""Gates on the tree itself: what has to stay true of every file, the ones of tomorrow included."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from importlib.metadata import version
from pathlib import Path
from typing import Any

import airflow
import pytest

import airflow_provider_anyformat
from airflow_provider_anyformat._airflow import BaseHook, BaseOperator
from airflow_provider_anyformat.get_provider_info import get_provider_info

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "airflow_provider_anyformat"
MODULES = sorted(PACKAGE.rglob("*.py"))
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
AIRFLOW_VERSION = tuple(int(part) for part in airflow.__version__.split(".")[:2])
AIRFLOW_3 = AIRFLOW_VERSION >= (3, 0)
# An example that needs a later Airflow than the package; on older ones it has no DAG.
NEEDED_AIRFLOW = {"example_anyformat_purge_approval": (3, 1)}
# The full ":param:" texts of five operators make it long.
LONG_FILES = {"operators/files.py"}
# Where the tests of a module do not bear its name.
TESTED_BY = {
    "readers.py": "parameters",
    "api/caller.py": "client",
    "api/calls.py": "client",
    "api/v2.py": "client",
    "api/values.py": "models",
    "hooks/anyformat.py": "hook",
    "operators/files.py": "operator",
    "retention/chain.py": "verification",
    "retention/evidence.py": "verification",
    "sensors/files.py": "sensor",
    "triggers/files.py": "trigger",
    "retention/reasons.py": "policy",
    "plugin/web.py": "plugin",
    "retry_policies.py": "retry_policy",
    "retention/signing.py": "verification",
    "retention/timeline.py": "foresight",
}
# BaseOperator owns these names: a parameter of ours called so would change what Airflow does.
AIRFLOWS_OWN = {"dry_run", "retries", "retry_delay", "resources", "params", "output", "pool"}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def on_disk(room: str) -> set[str]:
    """Name the public modules of a room, those that a user may import."""
    return {
        f"airflow_provider_anyformat.{room}.{path.stem}"
        for path in (PACKAGE / room).glob("*.py")
        if not path.stem.startswith("_")
    }


def classes(room: str, base: type) -> dict[str, type]:
    found: dict[str, type] = {}
    for name in sorted(on_disk(room)):
        module = importlib.import_module(name)
        found |= {
            attribute: value
            for attribute, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, base)
            and value.__module__ == name
            and not attribute.startswith("_")
        }
    return found


OPERATORS = classes("operators", BaseOperator)


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_gates_find_something() -> None:
    assert "DeleteFileCollectionOperator" in OPERATORS
    assert len(MODULES) > 10
    assert EXAMPLES


def test_provider_info_and_the_modules_on_disk_are_the_same_set() -> None:
    info = get_provider_info()
    assert {module for group in info["operators"] for module in group["python-modules"]} == on_disk("operators")
    for room in ("sensors", "triggers"):
        assert {module for group in info[room] for module in group["python-modules"]} == on_disk(room)
    assert {module for group in info["hooks"] for module in group["python-modules"]} == on_disk("hooks")
    hooks = {f"{hook.__module__}.{name}" for name, hook in classes("hooks", BaseHook).items()}
    assert {connection["hook-class-name"] for connection in info["connection-types"]} == hooks


def test_versions_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    numbers = [line for line in re.findall(r"^## \[?([^\]\s]+)", changelog, re.MULTILINE) if line != "Unreleased"]
    assert numbers[0] == airflow_provider_anyformat.__version__ == version("airflow-provider-anyformat")


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_in_an_example(name: str) -> None:
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(getattr(node.func, "value", None), "id", None)
        for path in EXAMPLES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    }
    assert name in called


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_s_init_only_assigns(operator: type) -> None:
    """What it did with a value there, it would do with a template."""
    definition = ast.parse(textwrap.dedent(inspect.getsource(operator.__init__))).body[0]  # type: ignore[misc]
    assert isinstance(definition, ast.FunctionDef)
    own = {argument.arg for argument in definition.args.kwonlyargs} - {"retry_policy"}
    assigned = set()
    for statement in definition.body:
        text = ast.unparse(statement)
        if text in ("super().__init__(**kwargs)", "super().__init__(retry_policy=retry_policy, **kwargs)"):
            continue
        assert isinstance(statement, ast.Assign), text
        assert text in {f"self.{name} = {name}" for name in own}, text
        assigned.add(ast.unparse(statement.value))
    assert assigned == own


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_an_operator_s_parameters_have_airflow_s_manners(operator: type) -> None:
    parameters = list(inspect.signature(operator.__init__).parameters.values())[1:]  # type: ignore[misc]
    own = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    assert {parameter.kind for parameter in parameters} == {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    }
    templated = operator.template_fields  # type: ignore[attr-defined]
    assert isinstance(templated, tuple)
    assert "anyformat_conn_id" in templated
    assert set(templated) <= own
    assert not own & AIRFLOWS_OWN
    assert not AIRFLOWS_OWN & set(vars(operator))
    undocumented = {name for name in own if f":param {name}:" not in (operator.__doc__ or "")}
    assert undocumented == set()


TEST_FILES = [path.stem for path in (ROOT / "tests").rglob("test_*.py")]


def is_tested(path: Path) -> bool:
    room = path.parent.name
    name = room if room in ("bulk", "cli", "rules", "sandbox") else TESTED_BY.get(relative(path), path.stem)
    return any(name.removeprefix("get_") in test for test in TEST_FILES)


def test_every_module_has_its_tests() -> None:
    """A test file bears the module's name, or for these rooms and what begins with ``_`` that of the room."""
    untested = [relative(path) for path in MODULES if not path.stem.startswith("_") and not is_tested(path)]
    assert untested == []


def test_a_file_is_short_enough_to_read() -> None:
    long = {relative(path) for path in MODULES if len(path.read_text().splitlines()) > 400}
    assert long <= LONG_FILES


def test_importing_the_operators_costs_a_dag_file_next_to_nothing() -> None:
    printed = python(
        """
        import json, sys
        from airflow_provider_anyformat._airflow import AIRFLOW_V_3_3_PLUS, BaseOperator, BaseOperatorLink
        if AIRFLOW_V_3_3_PLUS:
            from airflow_provider_anyformat._airflow import RetryPolicy
        before = set(sys.modules)
        import airflow_provider_anyformat.operators.files
        print(json.dumps([sorted(set(sys.modules) - before), "requests" in sys.modules]))
        """
    )
    added, has_requests = set(json.loads(printed)[0]), json.loads(printed)[1]
    ours = {name for name in added if name.startswith("airflow_provider_anyformat")}
    assert added - ours - set(sys.stdlib_module_names) == set()
    rooms = {name.split(".")[1] for name in ours if "." in name}
    own = {"_airflow", "api", "exceptions", "links", "operators", "parameters", "readers", "retry_policies", "storage"}
    assert rooms <= own
    assert not {"airflow_provider_anyformat.api.client", "airflow_provider_anyformat.api.models"} & added
    # BaseOperator of 2.11 imports it by itself.
    assert not (has_requests and AIRFLOW_3)


def test_the_pytest_plugin_imports_nothing_but_pytest() -> None:
    added = python(
        """
        import sys, pytest
        before = set(sys.modules)
        import airflow_provider_anyformat.sandbox.plugin
        print(",".join(sorted(set(sys.modules) - before - set(sys.stdlib_module_names))))
        """
    )
    assert added == (
        "airflow_provider_anyformat,airflow_provider_anyformat.sandbox,airflow_provider_anyformat.sandbox.plugin"
    )


PARSE = """
    import json, os, sys, warnings
    from pathlib import Path
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag
    import airflow_provider_anyformat.operators.files

    seen, found = Path(os.environ["SPY_FILE"]), {}
    for file in sys.argv[1:]:
        seen.write_text("")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bag = DagBag(file)
        ours = [str(one.message) for one in caught if Path(one.filename).name == Path(file).name]
        found[file] = [bag.import_errors, sorted(bag.dags), ours, seen.read_text().split()]
    print(json.dumps(found))
"""
SPY = """
    from __future__ import annotations
    import os
    from airflow.secrets import BaseSecretsBackend

    class Spy(BaseSecretsBackend):
        def get_conn_value(self, conn_id, **kwargs):
            self.note(conn_id)

        def get_variable(self, key, **kwargs):
            self.note(key)

        def note(self, name):
            with open(os.environ["SPY_FILE"], "a") as file:
                file.write(name + chr(10))
"""


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Any]:
    """Parse each example, and a DAG file that reads a connection, in another process; tell what came of it."""
    folder = tmp_path_factory.mktemp("parsed")
    (folder / "spy.py").write_text(textwrap.dedent(SPY))
    (folder / "reads.py").write_text(
        "from airflow_provider_anyformat._airflow import DAG, BaseHook\n"
        "try:\n    BaseHook.get_connection('some_conn')\nexcept Exception:\n    pass\n"
        "DAG('reads', schedule=None)\n"
    )
    files = [*EXAMPLES, folder / "reads.py"]
    printed = python(
        PARSE,
        *map(str, files),
        PYTHONPATH=str(folder),
        AIRFLOW__SECRETS__BACKEND="spy.Spy",
        SPY_FILE=str(folder / "seen"),
    )
    return {Path(file): found for file, found in json.loads(printed).items()}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_parses_clean_and_reads_no_connection(path: Path, parsed: dict[Path, Any]) -> None:
    errors, dags, warned, read = parsed[path]
    assert errors == {}
    assert bool(dags) == (NEEDED_AIRFLOW.get(path.stem, (2, 11)) <= AIRFLOW_VERSION)
    assert warned == []
    assert read == []


def test_a_connection_read_while_parsing_would_be_seen(parsed: dict[Path, Any]) -> None:
    [found] = [found for path, found in parsed.items() if path.name == "reads.py"]
    assert "some_conn" in found[3]
