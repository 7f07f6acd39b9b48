// Builds the page. Text is only ever set as textContent: DAG ids and reasons may be anything.
"use strict";

const $ = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function link(href, text, attributes = {}) {
  return make("a", { href, ...attributes }, text);
}

const AIRFLOW = new URL("../../", location.href).pathname;

function taskUrl(run, tab = "") {
  const mapped = run.mapIndex >= 0 ? `/mapped/${run.mapIndex}` : "";
  return `${AIRFLOW}dags/${pathOf(run.dagId)}/runs/${pathOf(run.runId)}/tasks/${pathOf(run.taskId)}${mapped}${tab}`;
}

// Airflow shows the page in a frame that may neither leave itself nor open windows: its own document has to follow a link.
function followFromAirflow(event) {
  const anchor = event.target.closest("a[href]");
  if (!anchor || window.parent === window || anchor.getAttribute("href").startsWith("#")) return;
  event.preventDefault();
  const twin = window.parent.document.createElement("a");
  twin.href = anchor.href;
  twin.rel = "noopener noreferrer";
  if (anchor.target || event.ctrlKey || event.metaKey) twin.target = "_blank";
  window.parent.document.body.append(twin);
  twin.click();
  twin.remove();
}

function numberLink(value, run, text = numberOf(value).toLocaleString("en")) {
  return link(taskUrl(run, "/xcom"), text, { class: "number" });
}

function keptList(summary, run) {
  const entries = Object.entries(summary.kept || {});
  if (!entries.length) return make("span", {}, "none");
  const items = entries.map(([reason, number]) => {
    const words = Object.hasOwn(REASONS, reason) ? REASONS[reason] : reason;
    return make("li", { title: reason }, numberLink(number, run), ` ${words}`);
  });
  return make("ul", { class: "plain" }, ...items);
}

function ledgerCell(run) {
  const path = run.summary?.ledger ?? (isGiven(run.parameters.ledger_path) ? run.parameters.ledger_path : null);
  if (path === null || path === undefined) return ["none"];
  const text = String(path);
  const shown = /^https?:\/\//i.test(text) ? link(text, text, { target: "_blank", rel: "noopener noreferrer" }) : make("span", {}, text);
  shown.classList.add("path");
  const head = run.summary?.summary_sha256;
  if (typeof head !== "string") return [shown];
  return [shown, make("div", {}, "head ", make("code", { title: head }, head.slice(0, 8)))];
}

function cell(label, ...content) {
  return make("td", { "data-label": label }, ...content);
}

function attentionList(purge) {
  if (!purge.attention.length) return null;
  const items = purge.attention.map(({ text, question }) => {
    const subject = question ? `: ${question.subject}` : "";
    const where = question ? asRun(question.task_instance) : lastRun(purge);
    const tab = question ? "/required_actions" : "";
    return make("li", {}, where ? link(taskUrl(where, tab), text + subject) : text);
  });
  return make("ul", { class: "attention plain" }, ...items);
}

const asRun = (instance) => runOf({ rendered_fields: {}, ...instance });

function runCell(run, now, label = "Last run") {
  if (!run) return cell(label, "has not run yet");
  const time = run.ended || run.started || run.after;
  return cell(
    label,
    make("div", {}, link(taskUrl(run), stateWords(run), { class: `state ${run.state === "success" ? "good" : "other"}` })),
    make("time", { datetime: time }, minute(time)),
    make("div", { class: "quiet" }, agoWords(time, now)),
  );
}

// The cells that a purge and each of its runs have in common.
function numberCells(run) {
  const { summary } = run;
  if (!summary) {
    const none = isOver(run) ? "no numbers" : "–";
    const why = run.trouble || (lacksNumbers(run) ? "not loaded yet" : none);
    return ["Deleted", "Kept", "Anomalies", "Backlog"].map((label) => cell(label, make("span", { class: "quiet" }, why)));
  }
  const anomalies = anomaliesOf(summary).reduce((sum, [, number]) => sum + numberOf(number), 0);
  const backlog = backlogOf(summary);
  return [
    cell("Deleted", numberLink(summary.deleted, run), deletedDetails(summary)),
    cell("Kept", keptList(summary, run)),
    cell("Anomalies", numberLink(anomalies, run)),
    cell("Backlog", backlog === null ? "unknown" : numberLink(backlog, run)),
  ];
}

function deletedDetails(summary) {
  const parts = [];
  if (numberOf(summary.already_gone)) parts.push(`${counted(summary.already_gone, "was", "were")} already gone`);
  const failed = failureWords({ summary });
  if (failed) parts.push(failed);
  return parts.length ? make("div", { class: "quiet" }, parts.join(", ")) : null;
}

function purgeRow(purge, now) {
  const run = lastRun(purge);
  const runs = make("button", { type: "button", "aria-expanded": "false" }, "Runs");
  const name = make("div", { class: "name" }, link(`${AIRFLOW}dags/${pathOf(purge.dagId)}/tasks/${pathOf(purge.taskId)}`, `${purge.dagId} / ${purge.taskId}`));
  if (purge.mapIndex >= 0) name.append(` [${purge.mapIndex}]`);
  const workflows = workflowsOf(purge).map((id) => {
    const url = workflowUrl(id);
    return make("li", {}, url ? link(url, id, { target: "_blank", rel: "noopener noreferrer" }) : id);
  });
  const header = make(
    "th",
    { scope: "row" },
    name,
    make("div", {}, policyWords(purge).join("; ")),
    workflows.length ? make("div", { class: "quiet" }, workflows.length === 1 ? "workflow" : "workflows", make("ul", { class: "plain path" }, ...workflows)) : null,
    attentionList(purge),
    purge.runs.length ? runs : null,
  );
  const empty = ["Deleted", "Kept", "Anomalies", "Backlog"].map((label) => cell(label, "–"));
  const forecast = run?.summary?.forecast;
  const row = make(
    "tr",
    { id: anchorOf(purge), class: purge.attention.some(({ weight }) => weight > 0) ? "look" : "" },
    header,
    runCell(run, now),
    ...(run ? numberCells(run) : empty),
    cell("Due next", forecast ? forecastChart(forecast, `Becomes due in ${purge.dagId} / ${purge.taskId}`) : make("span", { class: "quiet" }, "no forecast")),
    cell("Holds", holdWords(purge)),
    cell("Ledger", ...(run ? ledgerCell(run) : ["–"])),
  );
  runs.addEventListener("click", () => toggleRuns(purge, row, runs, now));
  return row;
}

const anchorOf = (purge) => pathOf(purge.dagId, purge.taskId) + (purge.mapIndex >= 0 ? `/${purge.mapIndex}` : "");

async function toggleRuns(purge, row, button, now) {
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) {
    row.nextElementSibling.remove();
    return;
  }
  const holder = make("td", { colspan: "9" }, "Loading the runs…");
  row.after(make("tr", { class: "runs" }, holder));
  try {
    purge.history = purge.history || (await loadHistory(purge));
    holder.replaceChildren(runsTable(purge.history, now));
  } catch (error) {
    holder.textContent = `The runs could not be read: ${error.message}`;
  }
}

function runsTable(runs, now) {
  const head = ["Run", "Deleted", "Kept", "Anomalies", "Backlog", "Log", "Ledger"].map((text) => make("th", { scope: "col" }, text));
  const rows = runs.map((run) =>
    make("tr", {}, runCell(run, now, "Run"), ...numberCells(run), cell("Log", link(taskUrl(run), "log")), cell("Ledger", ...ledgerCell(run))),
  );
  return make("table", { class: "inner" }, make("caption", {}, `The last ${counted(runs.length, "run")}`), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

function show(state) {
  for (const id of ["loading", "empty", "trouble", "purges"]) $(id).hidden = id !== state;
}

function showPurges({ purges, notes }) {
  const now = Date.now();
  sortPurges(purges, now);
  $("rows").replaceChildren(...purges.map((purge) => purgeRow(purge, now)));
  $("overview").textContent = `${dayWords(purges, now)} ${attentionWords(purges)}`;
  const forecasts = forecastsOf(purges);
  $("due").replaceChildren(...(forecasts.length ? [forecastChart(addUp(forecasts), "Becomes due, all purges together")] : ["No run has left a forecast yet."]));
  const unread = purges.map(lastRun).filter((run) => run && isNotLoaded(run));
  $("more").hidden = unread.length === 0;
  $("more").textContent = `Load the rest of ${counted(unread.length, "purge")}`;
  $("more").onclick = async () => {
    $("more").disabled = true;
    await loadDetails(unread);
    $("more").disabled = false;
    showPurges({ purges, notes });
  };
  $("notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
  $("unseen").hidden = notes.length === 0;
  show(purges.length ? "purges" : "empty");
}

function showTrouble(error) {
  const words = {
    0: "Airflow did not answer. Reload the page, or ask whoever runs Airflow.",
    401: "You are not logged in to Airflow. Log in, then open this page again.",
    403: "Your Airflow user may not see task instances. Ask an Airflow administrator for the role Viewer.",
  };
  $("trouble-text").textContent = words[error.status] || `The page could not be filled: ${error.message}`;
  $("trouble-link").href = AIRFLOW;
  show("trouble");
}

// A task's link "Retention" names its row.
function goToRow() {
  const row = document.getElementById(location.hash.slice(1));
  if (!row) return;
  row.classList.add("wanted");
  row.tabIndex = -1;
  row.focus();
  row.scrollIntoView();
}

async function start() {
  document.addEventListener("click", followFromAirflow);
  if (location.protocol === "file:") return show("empty");
  try {
    showPurges(await loadPage());
    goToRow();
  } catch (error) {
    showTrouble(error);
  }
}

start();
