// What the page says, made of what data.js found.
"use strict";

const APP = "https://app.anyformat.ai/workflows/";
const HOUR = 3600 * 1000;

// The reasons of a summary's "kept"; one that is not here is shown as it came.
const REASONS = {
  too_young: "too young",
  held: "held",
  status: "other status",
  name: "spared by name",
  keep_last: "among the newest",
  limit: "beyond this run's limit",
  no_longer_due: "no longer due",
  changed: "changed since the plan",
  no_results: "no results to archive",
  not_listed: "planned, but not listed",
  contradictory: "listed twice, differently",
  status_unknown: "unknown status",
  timestamp_missing: "no date",
  timestamp_unreadable: "unreadable date",
  timestamp_future: "date in the future",
};

// Reasons that a person should look into; the same as the provider's own list.
const ANOMALIES = [
  "contradictory",
  "no_results",
  "not_listed",
  "status_unknown",
  "timestamp_future",
  "timestamp_missing",
  "timestamp_unreadable",
];

const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const numberOf = (value) => (typeof value === "number" && Number.isFinite(value) ? value : 0);
const isGiven = (value) => ![undefined, null, "", "not given", "Unset.LEFT_OUT"].includes(value);

// Rendered fields are values, or their text: a list may be JSON or Python's way of writing one.
function listOf(value) {
  if (Array.isArray(value)) return value.map(String);
  if (!isGiven(value)) return [];
  try {
    const read = JSON.parse(value);
    return Array.isArray(read) ? read.map(String) : [String(value)];
  } catch (error) {
    return [String(value)];
  }
}

// "P90D", or Python's "90 days, 0:00:00".
function ageWords(value) {
  const text = String(value);
  const iso = /^P(?:(\d+)W)?(?:(\d+)D)?(?:T(\d+)H)?$/.exec(text);
  const python = /^(\d+) days?, 0:00:00$/.exec(text);
  if (python) return counted(Number(python[1]), "day");
  if (!iso || text === "P") return text;
  const parts = [[iso[1], "week"], [iso[2], "day"], [iso[3], "hour"]];
  return parts.filter(([number]) => number).map(([number, unit]) => counted(Number(number), unit)).join(" and ") || text;
}

function policyWords(purge) {
  const known = purge.runs.find((run) => Object.keys(run.parameters).length > 0);
  if (!known) return [purge.runs.some((run) => run.started) ? "policy not loaded yet" : "its policy is known after its first run"];
  const given = known.parameters;
  if (purge.operator === "ApplyPurgePlanOperator") {
    const by = isGiven(given.approved_by) ? `, approved by ${approver(given.approved_by)}` : "";
    return [`carries out plan ${String(given.plan_digest ?? "").slice(0, 8)}${by}`];
  }
  const words = [`older than ${ageWords(given.older_than)}`];
  if (given.age_by === "updated_at") words.push("counted from the last change");
  const statuses = listOf(given.statuses);
  if (statuses.join() !== "processed") words.push(`status ${statuses.join(" or ")}`);
  if (Number(given.keep_last) > 0) words.push(`the newest ${given.keep_last} of each workflow stay`);
  if (listOf(given.include_names).length) words.push("only certain names");
  if (listOf(given.exclude_names).length) words.push("certain names stay");
  if (isGiven(given.limit) && given.limit !== "unlimited") words.push(`at most ${given.limit} a run`);
  if (String(given.plan_only).toLowerCase() === "true") words.push("plans only, deletes nothing");
  if (isGiven(given.archive_path)) words.push("results are archived first");
  return words;
}

// {"id": …, "name": …}, or Python's way of writing it.
function approver(value) {
  if (typeof value === "object") return String(value.name ?? value.id ?? "");
  return /'name': '([^']*)'/.exec(value)?.[1] ?? String(value);
}

function workflowsOf(purge) {
  const fromSummary = purge.runs.map((run) => run.summary?.workflow_ids).find(Array.isArray);
  if (fromSummary) return fromSummary.map(String);
  return listOf(purge.runs.map((run) => run.parameters.workflow_id).find(isGiven));
}

const workflowUrl = (id) => (/^[A-Za-z0-9_-]{1,128}$/.test(id) ? APP + id : null);

function holdWords(purge) {
  const run = purge.runs[0];
  const held = numberOf(lastRun(purge)?.summary?.kept?.held);
  const listed = listOf(run?.parameters.exclude_collection_ids).length;
  const words = [];
  if (held) words.push(`${counted(held, "collection")} held`);
  if (listed) words.push(`${counted(listed, "id")} on the list`);
  if (isGiven(run?.parameters.holds)) words.push("a file of holds");
  return words.join(", ") || "none";
}

const anomaliesOf = (summary) => Object.entries(summary?.kept || {}).filter(([reason]) => ANOMALIES.includes(reason));

// Due, and still there.
function backlogOf(summary) {
  if (!summary || typeof summary.due !== "number") return null;
  return Math.max(0, summary.due - numberOf(summary.deleted) - numberOf(summary.already_gone));
}

const STATES = {
  success: "succeeded",
  failed: "failed",
  upstream_failed: "did not start, because a task before it failed",
  skipped: "was skipped",
  removed: "was removed from its DAG",
  running: "is running",
  up_for_retry: "failed, and will be tried again",
  up_for_reschedule: "is waiting",
  deferred: "is waiting",
  queued: "is about to start",
  scheduled: "is about to start",
};
const stateWords = (run) => STATES[run.state] || (run.state ? String(run.state) : "has not started");

function failureWords(run) {
  const { summary } = run;
  const parts = [];
  if (numberOf(summary?.failed)) parts.push(`${counted(summary.failed, "collection")} failed`);
  if (numberOf(summary?.not_attempted)) parts.push(`${counted(summary.not_attempted, "collection")} not attempted`);
  if (run.state !== "failed" && run.state !== "upstream_failed") return parts.join(", ");
  if (run.state === "upstream_failed") return "The last run did not start, because a task before it failed";
  if (parts.length) return `The last run failed: ${parts.join(", ")}`;
  const nothing = numberOf(summary?.due) && !numberOf(summary.requested) ? ", and deleted nothing" : "";
  return `The last run failed${nothing}; its log says why`;
}

// What a person should know first; an empty list for a purge that is as it should be.
function attentionOf(purge, now) {
  const found = purge.questions.map((question) => ({ weight: 100, text: `A plan has waited for approval since ${minute(question.created_at)}`, question }));
  const run = lastRun(purge);
  const add = (weight, text) => text && found.push({ weight, text });
  if (purge.dagIsGone) return [{ weight: -1, text: "Its DAG is no longer there" }];
  if (run) {
    add(90, failureWords(run));
    for (const [reason, number] of anomaliesOf(run.summary)) add(50, `${counted(number, "collection")} kept: ${REASONS[reason]}`);
    const [backlog, before] = purge.runs.filter(isOver).slice(0, 2).map((each) => backlogOf(each.summary));
    if (backlog > 0 && before !== null && backlog > before) add(40, `Its backlog grows: ${before.toLocaleString("en")}, now ${backlog.toLocaleString("en")}`);
  }
  add(60, scheduleWords(purge, now));
  return found.sort((a, b) => b.weight - a.weight);
}

function scheduleWords(purge, now) {
  const { dag } = purge;
  if (!dag) return "";
  if (dag.has_import_errors) return "Airflow cannot read its DAG file";
  // A DAG without a schedule only ever runs when somebody starts it.
  if (dag.is_paused && dag.timetable_summary !== null) return "Its DAG is paused: nothing runs";
  const next = dag.next_dagrun_run_after ? Date.parse(dag.next_dagrun_run_after) : NaN;
  return next < now - HOUR ? `Nothing has run since it was due on ${minute(dag.next_dagrun_run_after)}` : "";
}

function dayWords(purges, now) {
  const ended = purges.flatMap((purge) => purge.runs).filter((run) => isOver(run) && now - Date.parse(run.ended) < 24 * HOUR);
  if (!ended.length) return "Nothing has run in the last 24 hours.";
  const deleted = ended.reduce((sum, run) => sum + numberOf(run.summary?.deleted), 0);
  const unread = ended.some(isNotLoaded) ? ", as far as loaded" : "";
  return `In the last 24 hours, ${counted(ended.length, "run")} deleted ${counted(deleted, "collection")}${unread}.`;
}

function attentionWords(purges) {
  const pressing = purges.filter((purge) => purge.attention.some(({ weight }) => weight > 0)).length;
  if (!pressing) return "No purge needs attention.";
  return `${pressing} of ${counted(purges.length, "purge")} ${pressing === 1 ? "needs" : "need"} attention.`;
}

const minute = (text) => (text ? `${String(text).slice(0, 16).replace("T", " ")} UTC` : "never");

function agoWords(text, now) {
  const hours = (now - Date.parse(text)) / HOUR;
  if (!(hours >= 0)) return "";
  if (hours < 1) return "within the last hour";
  return hours < 48 ? `${counted(Math.floor(hours), "hour")} ago` : `${counted(Math.floor(hours / 24), "day")} ago`;
}

// The most pressing first; then by name, so that the order does not jump.
function sortPurges(purges, now) {
  for (const purge of purges) purge.attention = attentionOf(purge, now);
  const weight = (purge) => (purge.attention.length ? purge.attention[0].weight : 0);
  return purges.sort((a, b) => weight(b) - weight(a) || (a.key < b.key ? -1 : 1));
}
