"""The runner of real DAG runs; ``tests/airflow/conftest.py`` says how it is meant to be used."""

from __future__ import annotations

import contextlib
import json
import os
import textwrap
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.dag_results import (
    AIRFLOW_3,
    AIRFLOW_VERSION,
    Alarm,
    Attempt,
    Record,
    RunResult,
    TaskResult,
    as_text,
    dag_module,
    logs_to,
    serialized,
)
from tests.support.fork_server import ForkServer
from tests.support.task_process import TaskProcess
from tests.support.waiting import until


class DagRunner:
    """Writes DAG files into the session's dags folder, runs them, and tells what came of it."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self.folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
        self._files: list[Path] = []
        self._processes: list[TaskProcess] = []

    def write(self, source: str, name: str = "test_dag") -> Path:
        """
        Write a DAG file for this test; it is removed afterwards.

        :param source: Python text; common indentation is taken off.
        :param name: the file's name without suffix; unlike any other of this test.
        """
        path = self.folder / f"{name}.py"
        path.write_text(textwrap.dedent(source))
        self._files.append(path)
        return path

    def connect(self, uri_or_fields: str | dict[str, Any], conn_id: str = "anyformat_default") -> None:
        """Declare a connection for this test: a URI, or the fields of the JSON form (``conn_type``, ``host``, …)."""
        text = uri_or_fields if isinstance(uri_or_fields, str) else json.dumps(uri_or_fields)
        os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = text

    def load(self, dag_file: str | Path, dag_id: str | None = None) -> Any:
        """
        Parse a DAG file as Airflow does and give one of its DAGs, with no wait before a retry.

        :param dag_file: a path (a file elsewhere, such as an example, is copied into the dags folder), or the source.
        :param dag_id: which DAG; default: the only one of the file.
        """
        alarm = Alarm()
        if isinstance(dag_file, str):
            path = self.write(dag_file)
        elif dag_file.parent == self.folder:
            path = dag_file
        else:
            path = self.write(dag_file.read_text(), dag_file.stem)
        if AIRFLOW_VERSION >= (3, 2):
            from airflow.dag_processing.dagbag import DagBag
        else:
            from airflow.models.dagbag import DagBag
        bag = DagBag(str(path))
        if bag.import_errors:
            pytest.fail("\n".join(map(str, bag.import_errors.values())))
        if dag_id is None and len(bag.dags) != 1:
            pytest.fail(f"{path.name} has the DAGs {sorted(bag.dags)}: say which one by dag_id")
        dag = bag.dags[dag_id or next(iter(bag.dags))]
        self._store()
        alarm.set()
        for task in dag.tasks:
            # What an example waits before a retry, in minutes, nobody waits here.
            fields = getattr(task, "partial_kwargs", None)
            if fields is None:
                task.retry_delay = timedelta(0)
            else:
                fields["retry_delay"] = timedelta(0)
        return dag

    def run(
        self,
        dag_file: str | Path,
        *,
        dag_id: str | None = None,
        conf: dict[str, Any] | None = None,
        logical_date: datetime | None = None,
    ) -> RunResult:
        """
        Run a DAG to its end by ``DAG.test()``.

        :param dag_file: see :meth:`load`.
        :param conf: the run's configuration.
        :param logical_date: default now, so that no two runs collide.
        """
        dag, record = self.load(dag_file, dag_id), Record()
        when = logical_date or datetime.now(UTC)
        dated = {"logical_date": when} if AIRFLOW_3 else {"execution_date": when}
        with self._recording(record):
            run = dag.test(run_conf=conf, **dated)
        return self.collect(dag, run.run_id, record.attempts, record.whole.getvalue())

    def run_undated(self, dag_file: str | Path, *, conf: dict[str, Any] | None = None) -> RunResult:
        """Run a DAG without logical date and data interval, as an asset event starts it. Airflow 3 only."""
        dag, record = self.load(dag_file), Record()
        with self._recording(record):
            run = dag.test(run_conf=conf, logical_date=None)
        return self.collect(dag, run.run_id, record.attempts, record.whole.getvalue())

    def clear(self, result: RunResult, task_id: str, map_index: int = -1) -> RunResult:
        """Clear a finished task instance, which raises its ``max_tries``, and run what is then to run."""
        from airflow.models.taskinstance import clear_task_instances
        from airflow.utils.session import create_session

        record = Record()
        with create_session() as session:
            instance = self.instance(session, result.dag_id, result.run_id, task_id, map_index)
            clear_task_instances([instance], session, **({} if AIRFLOW_3 else {"dag": result.dag}))
        with self._recording(record):
            self._schedule(result.dag, result.run_id)
        return self.collect(result.dag, result.run_id, record.attempts, record.whole.getvalue())

    def start_task(
        self, dag_file: str | Path, task_id: str, *, dag_id: str | None = None, map_index: int = -1, timeout: float = 60
    ) -> TaskProcess:
        """
        Run what stands before a task, then start the task itself in a process of its own, and return once it runs.

        :param dag_file: see :meth:`load`. Its upstream tasks run in this process.
        :param task_id: the task to start.
        :param timeout: seconds until it must have reached ``execute``.
        """
        dag = self.load(dag_file, dag_id)
        with self._recording(Record()):
            run_id = self._create_run(dag)
            self._schedule(dag, run_id, stop_before=(task_id, map_index))
        output = self.folder.parent / f"supervisor-{task_id}-{time.monotonic_ns()}.out"
        order = [str(dag.fileloc), dag.dag_id, task_id, run_id, str(map_index)]
        supervisor = self._server.start(order, os.environ, output)
        process = TaskProcess(self, dag, run_id, task_id, map_index, supervisor, 0, output)
        self._processes.append(process)
        process.pid = self._wait_until_running(process, timeout)
        return process

    def end(self) -> None:
        """End every process and remove every file of the test."""
        for process in self._processes:
            process.end()
        for path in self._files:
            path.unlink(missing_ok=True)

    @staticmethod
    def instance(session: Any, dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
        """Read one task instance from the database."""
        from airflow.models.taskinstance import TaskInstance

        found = session.query(TaskInstance).filter_by(
            dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index
        )
        return found.one()

    def collect(self, dag: Any, run_id: str, attempts: dict[tuple[str, int], list[Attempt]], log: str) -> RunResult:
        """Read from the database what a run left behind."""
        from airflow.models.dagrun import DagRun
        from airflow.models.renderedtifields import RenderedTaskInstanceFields
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        tasks = {}
        with create_session() as session:
            state = as_text(session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run_id).one().state) or ""
            for ti in session.query(TaskInstance).filter_by(dag_id=dag.dag_id, run_id=run_id):
                key = (ti.task_id, ti.map_index)
                tries = attempts.get(key, [])
                tasks[key] = TaskResult(
                    task_id=ti.task_id,
                    map_index=ti.map_index,
                    state=as_text(ti.state),
                    try_number=ti.try_number,
                    max_tries=ti.max_tries,
                    xcoms=self._xcoms(session, ti),
                    rendered=RenderedTaskInstanceFields.get_templated_fields(ti, session=session) or {},
                    attempts=tries,
                    log="".join(attempt.log for attempt in tries),
                )
        return RunResult(dag.dag_id, run_id, state, tasks, json.dumps(serialized(dag)[0]), log, dag)

    @staticmethod
    def _xcoms(session: Any, ti: Any) -> dict[str, Any]:
        if AIRFLOW_3:
            from airflow.models.xcom import XComModel as XCom
            from airflow.sdk.execution_time.xcom import XCom as Reader
        else:
            from airflow.models.xcom import XCom

            Reader = XCom  # noqa: N806
        rows = session.query(XCom.key, XCom.value).filter_by(
            dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index
        )
        return {row.key: Reader.deserialize_value(row) for row in rows}

    def _store(self) -> None:
        """Write the folder's DAGs to the database; on 2.11 ``DAG.test()`` needs none of that."""
        from airflow.utils.session import create_session

        if not AIRFLOW_3:
            return
        from airflow.dag_processing.bundles.manager import DagBundlesManager

        if AIRFLOW_VERSION >= (3, 2):
            from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
        else:
            from airflow.models.dagbag import BundleDagBag, sync_bag_to_db
        manager = DagBundlesManager()
        with create_session() as session:
            manager.sync_bundles_to_db(session=session)
        for bundle in manager.get_all_dag_bundles():
            bundle.initialize()
            named = {"bundle_name": bundle.name} if AIRFLOW_VERSION >= (3, 2) else {}
            bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, **named)
            sync_bag_to_db(bag, bundle.name, bundle.version)

    @contextlib.contextmanager
    def _recording(self, record: Record) -> Iterator[None]:
        module = dag_module()
        original = module._run_task
        module._run_task = record.follow(original)  # type: ignore[attr-defined]
        try:
            with logs_to(record):
                yield
        finally:
            record.alarm.set()
            module._run_task = original  # type: ignore[attr-defined]

    @staticmethod
    def _create_run(dag: Any) -> str:
        from airflow.utils.session import create_session

        now = datetime.now(UTC)
        with create_session() as session:
            if not AIRFLOW_3:
                interval = dag.timetable.infer_manual_data_interval(run_after=now)
                run_id = f"manual__{now.isoformat()}"
                dag.create_dagrun(
                    state="running", execution_date=now, run_id=run_id, data_interval=interval, session=session
                )
                return run_id
            from airflow.models.dagrun import get_or_create_dagrun
            from airflow.utils.types import DagRunTriggeredByType

            form, deserialize = serialized(dag)
            scheduler_dag = deserialize(form)
            interval = scheduler_dag.timetable.infer_manual_data_interval(run_after=now)
            run = get_or_create_dagrun(
                dag=scheduler_dag,
                run_id=f"manual__{now.isoformat()}",
                logical_date=now,
                data_interval=interval,
                run_after=now,
                conf=None,
                triggered_by=DagRunTriggeredByType.TEST,
                triggering_user_name="tests",
                start_date=now,
                session=session,
            )
            return str(run.run_id)

    @staticmethod
    def _schedule(dag: Any, run_id: str, stop_before: tuple[str, int] | None = None) -> None:
        """Do as the loop in ``DAG.test()`` does, for a run that exists; leave ``stop_before`` queued if given."""
        from airflow import settings
        from airflow.models.dagrun import DagRun

        session = settings.Session()
        run = session.query(DagRun).filter_by(dag_id=dag.dag_id, run_id=run_id).one()
        if AIRFLOW_3:
            form, deserialize = serialized(dag)
            run.dag = deserialize(form)
        else:
            run.dag = dag
        run.state = "running"
        session.commit()
        while run.state == "running":
            ready, _ = run.update_state(session=session)
            for ti in ready:
                ti.try_number += 1
                ti.state = "scheduled"
            session.commit()
            scheduled = [ti for ti in run.get_task_instances(session=session) if ti.state == "scheduled"]
            for ti in scheduled:
                if (ti.task_id, ti.map_index) == stop_before:
                    ti.state = "queued"
                    ti.queued_dttm = datetime.now(UTC)
                    session.commit()
                    session.close()
                    return
                ti.task = dag.task_dict[ti.task_id]
                with contextlib.suppress(Exception):  # it is in the record, and the state tells
                    if AIRFLOW_3:
                        dag_module()._run_task(ti=ti, task=ti.task, run_triggerer=True)
                    else:
                        dag_module()._run_task(ti=ti, inline_trigger=True, session=session)
            if not scheduled:
                time.sleep(0.1)
            session.expire_all()
        session.close()

    def _wait_until_running(self, process: TaskProcess, timeout: float) -> int:
        from airflow.utils.session import create_session

        pids: list[int] = []

        def is_running() -> bool:
            with create_session() as session:
                ti = self.instance(session, process.dag.dag_id, process.run_id, process.task_id, process.map_index)
                state, pid = ti.state, ti.pid
            # A quick task may be over before the first look.
            is_over = state in ("success", "failed", "up_for_retry")
            if is_over or (state == "running" and pid and pid != process.supervisor):
                pids.append(int(pid or 0))
            assert pids or psutil.pid_exists(process.supervisor), process.log()
            return bool(pids)

        until(is_running, timeout, lambda: f"the task did not start:\n{process.log()}")
        return pids[0]
