"""Starts task instances as a worker does. An order is: DAG file, DAG id, task id, run id, map index, each as text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import airflow

from tests.support.fork_server import serve

AIRFLOW_3 = airflow.__version__.startswith("3.")


def _import_ahead() -> None:
    if not AIRFLOW_3:
        import airflow.cli.commands.task_command
        import airflow.jobs.local_task_job_runner
        import airflow.task.task_runner.standard_task_runner

        return
    import airflow.api_fastapi.execution_api.app
    import airflow.executors.workloads
    import airflow.models.taskinstance
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner
    import airflow.serialization.serialized_objects
    import starlette.testclient  # noqa: F401

    # Building the routes takes seconds; the thread that serves them is only started in the child.
    _ = airflow.sdk.execution_time.supervisor.in_process_api_server().app


def _on_airflow_2(dag_file: str, dag_id: str, task_id: str, run_id: str, map_index: str) -> None:
    mapped = ["--map-index", map_index] if map_index != "-1" else []
    sys.argv = ["airflow", "tasks", "run", dag_id, task_id, run_id, "--local", "--subdir", dag_file, *mapped]
    from airflow.__main__ import main

    main()


def _on_airflow_3(dag_file: str, dag_id: str, task_id: str, run_id: str, map_index: str) -> None:
    from airflow.executors import workloads
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.execution_time import supervisor
    from airflow.utils.session import create_session

    with create_session() as session:
        named = {"dag_id": dag_id, "task_id": task_id, "run_id": run_id, "map_index": int(map_index)}
        workload = workloads.ExecuteTask.make(
            session.query(TaskInstance).filter_by(**named).one(),
            dag_rel_path=Path(dag_file).relative_to(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]),
            bundle_info=workloads.BundleInfo(name="dags-folder"),
        )
    # Any DAG will do: it makes the in-process server look DAGs up in the database.
    client: Any = supervisor.InProcessTestSupervisor._api_client(object())
    supervise = getattr(supervisor, "supervise_task", None) or supervisor.supervise
    supervise(
        ti=workload.ti,
        bundle_info=workload.bundle_info,
        dag_rel_path=workload.dag_rel_path,
        token="",
        client=client,
        log_path=str(Path(os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"]) / str(workload.log_path)),
    )


if __name__ == "__main__":
    _import_ahead()
    serve(lambda order: (_on_airflow_3 if AIRFLOW_3 else _on_airflow_2)(*order))
