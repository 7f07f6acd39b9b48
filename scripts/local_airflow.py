"""
A complete Airflow of this machine: API server, scheduler, DAG processor, triggerer.

On loopback, on free ports, with a home, a database and logs in a folder of its own. It is the Airflow that is installed
beside the interpreter that runs this, 3 or 2.11.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import requests

from scripts.processes import NotStartedError, Processes, bare_environment, free_port

AIRFLOW_VERSION = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
AIRFLOW_3 = AIRFLOW_VERSION >= (3, 0)
AIRFLOW = (sys.executable, "-m", "airflow")
COMPONENTS: tuple[str, ...] = ("api-server", "scheduler", "dag-processor", "triggerer")
if not AIRFLOW_3:
    COMPONENTS = ("webserver", "scheduler", "triggerer")
USER = "admin"
# On 3.x there is somebody else, who may only look; with the same password.
VIEWER = "viewer"


class LocalAirflow:
    """
    An Airflow that runs as long as the ``with`` block.

    :param home: its folder; whatever is in it goes first.
    :param dag_files: copied into its DAGs folder.
    :param database: SQLAlchemy URL; default SQLite in ``home``.
    :param executor: default ``LocalExecutor``, or what works with SQLite on 2.11.
    :param components: the processes to start; default all of :data:`COMPONENTS`.
    :param port: of the web interface and the API; default any free one.
    :param settings: more ``AIRFLOW_…`` variables.
    """

    def __init__(
        self,
        home: Path,
        dag_files: Iterable[Path] = (),
        *,
        database: str | None = None,
        executor: str | None = None,
        components: Iterable[str] = COMPONENTS,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.password = secrets.token_urlsafe(9)
        self.processes = Processes(home / "logs" / "components")
        self._dag_files = list(dag_files)
        self._components = tuple(components)
        self._port = port or free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        if executor is None:
            executor = "LocalExecutor" if AIRFLOW_3 or database else "SequentialExecutor"
        self.environment = bare_environment(
            # The executors of 2.11 start a program called "airflow".
            PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            AIRFLOW_HOME=str(home),
            AIRFLOW__CORE__DAGS_FOLDER=str(home / "dags"),
            AIRFLOW__CORE__EXECUTOR=executor,
            AIRFLOW__CORE__FERNET_KEY=_fernet_key(),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__TEST_CONNECTION="Enabled",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=database or f"sqlite:///{home / 'airflow.db'}",
            AIRFLOW__LOGGING__COLORED_CONSOLE_LOG="False",
            AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
            AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
            **(self._of_airflow_3() if AIRFLOW_3 else self._of_airflow_2()),
            **(settings or {}),
        )
        self._token = ""

    def __enter__(self) -> Self:
        """Start it, and wait until all of it says that it is well."""
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "dags").mkdir(parents=True)
        for file in self._dag_files:
            shutil.copy(file, self.home / "dags")
        try:
            self._prepare()
            for name in self._components:
                self.start(name)
            self.processes.wait_for(self._is_well, "a healthy Airflow")
        except BaseException:
            self.processes.stop_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of it."""
        self.processes.stop_all()

    def start(self, name: str, *arguments: str) -> int:
        """Start one component, such as one that was ended; return its process id."""
        options = {
            "api-server": ("--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"),
            "webserver": ("--hostname", "127.0.0.1", "--port", str(self._port), "--workers", "2"),
            "scheduler": ("--skip-serve-logs",),
            "triggerer": ("--skip-serve-logs",),
        }.get(name, ())
        return self.processes.start(name, [*AIRFLOW, name, *options, *arguments], self.environment)

    def command(self, *arguments: str, seconds: float = 120) -> str:
        """
        Run an ``airflow`` command to its end; return what it printed.

        :raises NotStartedError: it failed.
        """
        done = subprocess.run(
            [*AIRFLOW, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            raise NotStartedError(f"airflow {' '.join(arguments)} failed:\n{done.stdout}")
        return done.stdout

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """
        Ask the REST API, v2 of Airflow 3 or v1 of 2.11, as the user.

        :param path: below ``/api/v2/``.
        :raises requests.HTTPError: it answered with an error; the text has what it said.
        """
        if AIRFLOW_3 and not self._token:
            login = {"username": USER, "password": self.password}
            reply = requests.post(f"{self.url}/auth/token", json=login, timeout=30)
            reply.raise_for_status()
            self._token = reply.json()["access_token"]
        credentials: dict[str, Any] = (
            {"headers": {"Authorization": f"Bearer {self._token}"}} if AIRFLOW_3 else {"auth": (USER, self.password)}
        )
        url = f"{self.url}/api/{'v2' if AIRFLOW_3 else 'v1'}/{path}"
        reply = requests.request(method, url, json=body, params=params, timeout=60, **credentials)
        if not reply.ok:
            raise requests.HTTPError(f"{method} {path}: HTTP {reply.status_code}: {reply.text[:500]}", response=reply)
        return reply.json() if reply.content else None

    def connect(self, connection: Mapping[str, Any], conn_id: str = "anyformat_default") -> None:
        """
        Add a connection to Airflow's database.

        :param connection: the fields of Airflow's JSON form: ``conn_type``, ``host``, ``password``, ``extra``, …
        """
        extra = connection.get("extra")
        body = {"connection_id": conn_id, **connection}
        if isinstance(extra, Mapping):
            body["extra"] = json.dumps(extra)
        self.ask("POST", "connections", body)

    def set_variable(self, key: str, value: str) -> None:
        """Add a Variable."""
        self.ask("POST", "variables", {"key": key, "value": value})

    def switch_on(self, dag_id: str, *, seconds: float = 60) -> None:
        """Wait until a DAG is known, and switch it on."""

        def is_on() -> bool:
            try:
                self.ask("PATCH", f"dags/{dag_id}", {"is_paused": False})
            except requests.HTTPError:
                return False
            return True

        self.processes.wait_for(is_on, f"the DAG {dag_id}", seconds)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, *, seconds: float = 60) -> str:
        """Switch a DAG on as :meth:`switch_on` does, start a run, and return its ``run_id``."""
        self.switch_on(dag_id, seconds=seconds)
        body: dict[str, Any] = {"conf": dict(conf or {})}
        if AIRFLOW_3:
            body["logical_date"] = None
        run: str = self.ask("POST", f"dags/{dag_id}/dagRuns", body)["dag_run_id"]
        return run

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Give the state of a run."""
        state: str = self.ask("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        return state

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Give what the API says of a task instance."""
        found: dict[str, Any] = self.ask("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        return found

    def log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Give what a task's tries have logged so far, from the log files."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(path.read_text(errors="replace") for path in sorted(folder.rglob("attempt=*.log")))

    def wait_for_run(self, dag_id: str, run_id: str, seconds: float = 120) -> str:
        """Wait until a run has ended; return the state it ended in."""
        ended = ("success", "failed")
        self.processes.wait_for(lambda: self.run_state(dag_id, run_id) in ended, f"the end of {run_id}", seconds)
        return self.run_state(dag_id, run_id)

    def question(self, dag_id: str, run_id: str, task_id: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a task asks a person; return what the person is shown."""
        # An answer within the second before the scheduler has taken note of the pause fails the task, which the
        # scheduler then takes for one that was killed. No person is that quick.
        paused = f"TaskInstance Finished: dag_id={dag_id}, task_id={task_id}, run_id={run_id},"
        self.processes.wait_for(lambda: paused in self.processes.log("scheduler"), "the question", seconds)
        question: dict[str, Any] = self.ask("GET", self._question(dag_id, run_id, task_id))
        return question

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task's question."""
        answer = {"chosen_options": [option], "params_input": {}}
        self.ask("PATCH", self._question(dag_id, run_id, task_id), answer)

    def _question(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"

    def _prepare(self) -> None:
        self.command("db", "migrate")
        if AIRFLOW_3:
            passwords = self.home / "passwords.json"
            passwords.write_text(json.dumps({USER: self.password, VIEWER: self.password}))
            passwords.chmod(0o600)
        elif "webserver" in self._components:
            person = ("--firstname", "Ada", "--lastname", "Min", "--email", "admin@example.org", "--role", "Admin")
            self.command("users", "create", "--username", USER, "--password", self.password, *person)

    def _is_well(self) -> bool:
        try:
            path = "/api/v2/monitor/health" if AIRFLOW_3 else "/health"
            health = requests.get(f"{self.url}{path}", timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        named = {"dag-processor": "dag_processor", "api-server": "metadatabase", "webserver": "metadatabase"}
        parts = [named.get(name, name) for name in self._components]
        return all(health.get(part, {}).get("status") == "healthy" for part in parts)

    def _of_airflow_3(self) -> dict[str, str]:
        return {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{VIEWER}:viewer",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        }

    def _of_airflow_2(self) -> dict[str, str]:
        api = "airflow.providers.fab.auth_manager.api.auth.backend.basic_auth,airflow.api.auth.backend.session"
        return {
            "AIRFLOW__API__AUTH_BACKENDS": api,
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "5",
            "AIRFLOW__WEBSERVER__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__WEBSERVER__BASE_URL": self.url,
        }


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()
