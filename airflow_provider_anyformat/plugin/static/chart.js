// What becomes due, as bars with their numbers in text.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const HORIZONS = ["1", "7", "30", "90"];
const BAR = { width: 34, gap: 6, height: 36, top: 16, bottom: 16 };
let charts = 0;

function svg(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

const horizonWords = (days) => (days === "1" ? "1 day" : `${days} days`);

// A forecast counts what becomes due within so many days, beyond what is due now.
function forecastChart(forecast, name) {
  const values = HORIZONS.map((days) => numberOf(forecast[days]));
  const most = Math.max(...values, 1);
  const { width, gap, height, top, bottom } = BAR;
  const words = HORIZONS.map((days, n) => `${values[n].toLocaleString("en")} within ${horizonWords(days)}`).join(", ");
  const id = `chart-${(charts += 1)}`;
  const size = [HORIZONS.length * (width + gap) - gap, top + height + bottom];
  const chart = svg("svg", { class: "chart", role: "img", "aria-labelledby": id, viewBox: `0 0 ${size.join(" ")}`, width: size[0], height: size[1] });
  chart.append(svg("title", { id }, `${name}: ${words}`));
  values.forEach((value, n) => {
    const x = n * (width + gap);
    const tall = Math.round((value / most) * height);
    chart.append(
      svg("rect", { class: "bar", x, y: top + height - tall, width, height: Math.max(tall, 1) }),
      svg("text", { class: "value", x: x + width / 2, y: top + height - tall - 4, "text-anchor": "middle" }, value.toLocaleString("en")),
      svg("text", { class: "label", x: x + width / 2, y: top + height + 13, "text-anchor": "middle" }, `${HORIZONS[n]} d`),
    );
  });
  return chart;
}

// Each once: an apply repeats its plan's forecast, and a dry run that of the purge beside it.
function forecastsOf(purges) {
  const found = new Map();
  for (const purge of purges) {
    const summary = lastRun(purge)?.summary;
    if (!summary?.forecast || purge.operator === "ApplyPurgePlanOperator") continue;
    found.set(JSON.stringify([summary.workflow_ids ?? purge.key, summary.forecast]), summary.forecast);
  }
  return [...found.values()];
}

function addUp(forecasts) {
  const total = {};
  for (const forecast of forecasts) {
    for (const [days, number] of Object.entries(forecast)) total[days] = (total[days] || 0) + numberOf(number);
  }
  return total;
}
