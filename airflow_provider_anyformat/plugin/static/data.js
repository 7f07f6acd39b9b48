// What the page knows, all of it by GET from Airflow's public REST API with the session of whoever looks.
"use strict";

// Relative to <Airflow>/anyformat/static/retention.html, wherever Airflow itself is mounted.
const API = "../../api/v2/";
const OPERATORS = ["PurgeFileCollectionsOperator", "ApplyPurgePlanOperator"];
const PAGE_SIZE = 100;
const MOST_REQUESTS = 12;
const RUN_PAGES = 4;
const DAG_PAGES = 2;
const MOST_TASK_LISTS = 3;

class AirflowError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Counts what it asks for: opening the page costs at most MOST_REQUESTS.
const airflow = {
  asked: 0,

  async get(path, parameters = {}) {
    this.asked += 1;
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) {
      for (const each of [value].flat()) query.append(name, each);
    }
    let reply;
    try {
      reply = await fetch(API + path + (query.size ? `?${query}` : ""), { headers: { Accept: "application/json" } });
    } catch (error) {
      throw new AirflowError(0, "Airflow did not answer");
    }
    if (!reply.ok) throw new AirflowError(reply.status, `Airflow answered HTTP ${reply.status}`);
    return reply.json();
  },

  get left() {
    return MOST_REQUESTS - this.asked;
  },
};

const keyOf = (dagId, taskId, mapIndex) => JSON.stringify([dagId, taskId, mapIndex]);
const pathOf = (...parts) => parts.map(encodeURIComponent).join("/");

// Ask for the first page, then for as many more as there are, all at once.
async function pages(path, parameters, field, most) {
  const first = await airflow.get(path, { ...parameters, limit: PAGE_SIZE });
  const wanted = Math.min(Math.ceil(first.total_entries / PAGE_SIZE), most);
  const rest = [];
  for (let page = 1; page < wanted; page += 1) {
    rest.push(airflow.get(path, { ...parameters, limit: PAGE_SIZE, offset: page * PAGE_SIZE }));
  }
  const all = [first, ...(await Promise.all(rest))].flatMap((page) => page[field]);
  return { all, complete: all.length >= first.total_entries };
}

// One run of a purge task. Its numbers come with the task instance where this version of the provider ran it.
function runOf(instance) {
  const { summary, ...parameters } = instance.rendered_fields || {};
  return {
    dagId: instance.dag_id,
    taskId: instance.task_id,
    runId: instance.dag_run_id,
    mapIndex: instance.map_index,
    tryNumber: instance.try_number,
    state: instance.state,
    operator: instance.operator_name || instance.operator,
    after: instance.run_after,
    started: instance.start_date,
    ended: instance.end_date,
    parameters,
    summary: asSummary(summary),
  };
}

function asSummary(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
}

const isOver = (run) => ["success", "failed", "upstream_failed", "skipped", "removed"].includes(run.state);
// Whether it may have left a summary that was not asked for yet.
const lacksNumbers = (run) => run.summary === null && !run.askedNumbers && ["success", "failed"].includes(run.state);
// Airflow 3.1 leaves the rendered fields out of its lists.
const lacksParameters = (run) => Object.keys(run.parameters).length === 0 && !run.askedParameters && run.started !== null;
const isNotLoaded = (run) => lacksNumbers(run) || lacksParameters(run);

const instancePath = (run) => `dags/${pathOf(run.dagId)}/dagRuns/${pathOf(run.runId)}/taskInstances/${pathOf(run.taskId)}`;

async function loadParameters(run) {
  run.askedParameters = true;
  try {
    const found = runOf(await airflow.get(instancePath(run) + (run.mapIndex >= 0 ? `/${run.mapIndex}` : "")));
    run.parameters = found.parameters;
    run.summary = run.summary || found.summary;
  } catch (error) {
    run.trouble = error.message;
  }
}

// The public list of XComs has no values, so that each costs a request of its own.
async function loadSummary(run) {
  run.askedNumbers = true;
  try {
    const entry = await airflow.get(`${instancePath(run)}/xcomEntries/summary`, { map_index: run.mapIndex });
    run.summary = asSummary(typeof entry.value === "string" ? JSON.parse(entry.value) : entry.value);
  } catch (error) {
    // 404: the run ended before it could count.
    if (error.status !== 404) run.trouble = error.message;
  }
}

// What the lists did not have of these runs, with at most so many requests.
async function loadDetails(runs, most = Infinity) {
  const end = airflow.asked + most;
  for (const [lacks, load] of [[lacksParameters, loadParameters], [lacksNumbers, loadSummary]]) {
    const left = Math.max(0, end - airflow.asked);
    await Promise.all(runs.filter(lacks).slice(0, left).map(load));
  }
}

function groupRuns(runs) {
  const purges = new Map();
  for (const run of runs) {
    const key = keyOf(run.dagId, run.taskId, run.mapIndex);
    if (!purges.has(key)) {
      purges.set(key, { key, dagId: run.dagId, taskId: run.taskId, mapIndex: run.mapIndex, operator: run.operator, runs: [] });
    }
    purges.get(key).runs.push(run);
  }
  return [...purges.values()];
}

// The events that purges leave on their outlets: many runs' numbers for one request.
async function readEvents(runs, notes) {
  const byRun = new Map(runs.map((run) => [JSON.stringify([run.dagId, run.runId, run.taskId, run.mapIndex]), run]));
  try {
    const { asset_events: events } = await airflow.get("assets/events", { order_by: "-timestamp", limit: PAGE_SIZE });
    for (const event of events) {
      const key = [event.source_dag_id, event.source_run_id, event.source_task_id, event.source_map_index];
      const run = byRun.get(JSON.stringify(key));
      const extra = asSummary(event.extra);
      if (run && extra && "deleted" in extra) run.summary = extra;
    }
  } catch (error) {
    notes.push(`asset events: ${error.message}`);
  }
}

async function readDags(notes) {
  try {
    return await pages("dags", { order_by: "dag_id" }, "dags", DAG_PAGES);
  } catch (error) {
    notes.push(`schedules: ${error.message}`);
    return { all: [], complete: false };
  }
}

async function readQuestions(notes) {
  try {
    const path = "dags/~/dagRuns/~/hitlDetails";
    return (await airflow.get(path, { response_received: false, limit: PAGE_SIZE, order_by: "-created_at" })).hitl_details;
  } catch (error) {
    notes.push(`plans that wait for an approval: ${error.message}`);
    return [];
  }
}

// A purge that never ran has left no task instance; DAGs with our tag are asked for their tasks.
async function addNeverRun(purges, dags, notes) {
  const known = new Set(purges.map((purge) => purge.dagId));
  const candidates = dags.filter((dag) => !known.has(dag.dag_id) && dag.tags.some((tag) => tag.name === "anyformat"));
  const asked = candidates.slice(0, Math.min(airflow.left, MOST_TASK_LISTS));
  if (asked.length < candidates.length) {
    notes.push(`${candidates.length - asked.length} more DAGs with the tag anyformat have not run yet`);
  }
  const answers = await Promise.allSettled(asked.map((dag) => airflow.get(`dags/${pathOf(dag.dag_id)}/tasks`)));
  answers.forEach((answer, n) => {
    for (const task of answer.value?.tasks || []) {
      if (!OPERATORS.includes(task.operator_name)) continue;
      const [dagId, taskId] = [asked[n].dag_id, task.task_id];
      purges.push({ key: keyOf(dagId, taskId, -1), dagId, taskId, mapIndex: -1, operator: task.operator_name, runs: [] });
    }
  });
}

const lastRun = (purge) => purge.runs.find(isOver) || purge.runs[0];

// The last run of each purge in full, as far as the requests go: first what failed, then what has no numbers.
async function completeLastRuns(purges, notes) {
  const incomplete = () => purges.map(lastRun).filter((run) => run && isNotLoaded(run));
  if (incomplete().length > airflow.left) await readEvents(purges.flatMap((purge) => purge.runs), notes);
  const urgency = (run) => 2 * (run.state === "failed") + lacksNumbers(run);
  await loadDetails(incomplete().sort((a, b) => urgency(b) - urgency(a)), airflow.left);
}

// Everything for the first look. Throws where not even the task instances can be read.
async function loadPage() {
  const notes = [];
  const [instances, dags, questions] = await Promise.all([
    pages("dags/~/dagRuns/~/taskInstances", { operator: OPERATORS, order_by: "-run_after" }, "task_instances", RUN_PAGES),
    readDags(notes),
    readQuestions(notes),
  ]);
  if (!instances.complete) notes.push(`runs before ${instances.all.at(-1).run_after}`);
  const purges = groupRuns(instances.all.map(runOf));
  await addNeverRun(purges, dags.all, notes);
  const dagOf = new Map(dags.all.map((dag) => [dag.dag_id, dag]));
  for (const purge of purges) {
    purge.dag = dagOf.get(purge.dagId) || null;
    purge.dagIsGone = dags.complete && purge.dag === null;
    purge.questions = [];
  }
  for (const question of questions) {
    // A plan is made by a purge; where that is in another DAG, the question stands at what would carry it out.
    const inDag = purges.filter((purge) => purge.dagId === question.task_instance.dag_id);
    const asking = inDag.find((purge) => purge.operator === OPERATORS[0]) || inDag[0];
    if (asking) asking.questions.push(question);
  }
  await completeLastRuns(purges, notes);
  return { purges, notes };
}

async function loadHistory(purge) {
  const parameters = { task_id: purge.taskId, map_index: purge.mapIndex, order_by: "-run_after", limit: 30 };
  const answer = await airflow.get(`dags/${pathOf(purge.dagId)}/dagRuns/~/taskInstances`, parameters);
  const runs = answer.task_instances.map(runOf);
  await Promise.all(runs.filter(lacksNumbers).map(loadSummary));
  return runs;
}
