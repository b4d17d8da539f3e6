// Pointing at one chart reads all of them at that step. Without this script the page is complete, only quieter.
"use strict";
const charts = [...document.querySelectorAll(".chart[data-lines]")].map((figure) => ({
  figure,
  svg: figure.querySelector("svg"),
  cursor: figure.querySelector(".cursor"),
  output: figure.querySelector("output"),
  lines: JSON.parse(figure.dataset.lines),
  dots: [],
}));
const svgns = "http://www.w3.org/2000/svg";

function nearest(points, column, value) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][column] <= value) low = middle; else high = middle;
  }
  return Math.abs(points[low][column] - value) <= Math.abs(points[high][column] - value) ? points[low] : points[high];
}

function clear(chart) {
  chart.dots.splice(0).forEach((dot) => dot.remove());
  chart.cursor.style.visibility = "hidden";
  chart.output.replaceChildren();
}

function written(value) {
  const size = Math.abs(value);
  return value && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

// The point of a line at a step; none where the line has ended, as with a run that was stopped early.
function at(points, step) {
  const [first, last] = [points[0][0], points[points.length - 1][0]];
  const gap = (last - first) / Math.max(points.length - 1, 1);
  return step < first - gap || step > last + gap ? null : nearest(points, 0, step);
}

function read(chart, step) {
  clear(chart);
  const found = chart.lines.map(([label, colour, points]) => [label, colour, at(points, step)]);
  const points = found.map((one) => one[2]).filter(Boolean);
  if (!points.length) return;
  const [nearestStep, , x] = points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
  chart.cursor.setAttribute("x1", x);
  chart.cursor.setAttribute("x2", x);
  chart.cursor.style.visibility = "visible";
  chart.output.append("step " + nearestStep);
  for (const [label, colour, point] of found) {
    const value = document.createElement("span");
    value.className = "f" + colour;
    value.title = label;
    value.textContent = point ? written(point[1]) : "–";
    chart.output.append(value);
    if (!point) continue;
    const dot = document.createElementNS(svgns, "circle");
    dot.setAttribute("class", "hover f" + colour);
    dot.setAttribute("cx", point[2]);
    dot.setAttribute("cy", point[3]);
    dot.setAttribute("r", 3.5);
    chart.svg.append(dot);
    chart.dots.push(dot);
  }
}

let step = null;
const readAll = (to) => { step = to; charts.forEach((chart) => read(chart, to)); };
const clearAll = () => { step = null; charts.forEach(clear); };

for (const chart of charts) {
  const points = chart.lines.map((line) => line[2]).reduce((a, b) => (b.length > a.length ? b : a));
  chart.svg.addEventListener("pointermove", (event) => {
    const box = chart.svg.getBoundingClientRect();
    readAll(nearest(points, 2, ((event.clientX - box.left) / box.width) * chart.svg.viewBox.baseVal.width)[0]);
  });
  chart.svg.addEventListener("pointerleave", clearAll);
  chart.figure.addEventListener("blur", clearAll);
  chart.figure.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") clearAll();
    if (!move) return;
    event.preventDefault();
    const next = step === null ? points.length - 1 : points.indexOf(nearest(points, 0, step)) + move;
    readAll(points[Math.min(Math.max(next, 0), points.length - 1)][0]);
  });
}
