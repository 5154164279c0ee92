// The pages work without this. It keeps them fresh, draws charts one can point at, and saves a few clicks.
// Whatever comes from the store reaches the page as text, or as markup that the server has escaped.
"use strict";

const root = document.body.dataset.root;
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const element = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};

// Charts

const charts = new Map();
const styleOf = (tone, drawn) => {
  const probe = element("i", tone);
  drawn.append(probe);
  const color = getComputedStyle(probe).getPropertyValue("background-color");
  probe.remove();
  return color;
};
const seconds = (value) => {
  if (value == null) return "–";
  if (value < 1) return `${Math.round(value * 1000)}ms`;
  if (value < 60) return `${+value.toFixed(value < 10 ? 1 : 0)}s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes}m ${Math.round(value % 60)}s`.replace(" 0s", "");
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`.replace(" 0m", "");
};
const number = (value) => (value == null ? "–" : value.toLocaleString("en", { maximumFractionDigits: 1 }));
const two = (value) => String(value).padStart(2, "0");
const clock = (at) => {
  const when = new Date(at * 1000);
  return `${two(when.getUTCHours())}:${two(when.getUTCMinutes())}`;
};
const day = (at) => {
  const when = new Date(at * 1000);
  return `${two(when.getUTCMonth() + 1)}-${two(when.getUTCDate())}`;
};

// Where a value has no neighbours there is no line, so it gets a point.
const lonely = (values) =>
  values.flatMap((value, at) => (value != null && values[at - 1] == null && values[at + 1] == null ? [at] : []));

function draw(plot) {
  const told = JSON.parse(plot.dataset.chart);
  const say = told.unit === "seconds" ? seconds : number;
  const known = charts.get(plot.parentElement.id);
  if (known && known.plot === plot) known.chart.destroy();
  const wanted = { text: styleOf("ink", plot), line: styleOf("grid", plot) };
  const tones = told.lines.map((line) => styleOf(line.tone, plot));
  const [from, to] = [told.data[0][0], told.data[0].at(-1)];
  const isLong = to - from > 86400;
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const tip = element("div", "tip");
  tip.hidden = true;
  plot.replaceChildren();
  const chart = new uPlot(
    {
      width: plot.clientWidth,
      height: plot.clientHeight,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      padding: [6, 16, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      axes: [
        {
          stroke: wanted.text, font, size: 24, gap: 4, space: 64,
          grid: { show: false }, ticks: { show: false },
          values: (_, ticks) => ticks.map((at) => (isLong ? (clock(at) === "00:00" ? day(at) : clock(at)) : clock(at))),
        },
        {
          stroke: wanted.text, font, size: 46, gap: 6, space: 34,
          grid: { stroke: wanted.line, width: 1 }, ticks: { show: false },
          values: (_, ticks) => ticks.map(say),
        },
      ],
      series: [
        {},
        ...told.lines.map((line, at) => ({
          label: line.label, stroke: tones[at], width: 1.5, spanGaps: false,
          fill: told.filled && at === 0 ? tones[at].replace("rgb(", "rgba(").replace(")", ", 0.12)") : undefined,
          points: { show: true, size: 4, filter: (drawn, series) => lonely(told.data[series]) },
        })),
      ],
      hooks: {
        setCursor: [
          (drawn) => {
            const at = drawn.cursor.idx;
            tip.hidden = at == null;
            if (at == null) return;
            const moment = told.data[0][at];
            tip.replaceChildren(element("div", "soft", `${isLong ? `${day(moment)} ` : ""}${clock(moment)}`));
            told.lines.forEach((line, which) => {
              const row = element("div", line.tone);
              row.append(element("i"), `${line.label} `, element("b", "", say(told.data[which + 1][at])));
              tip.append(row);
            });
            const x = drawn.cursor.left + drawn.bbox.left / devicePixelRatio;
            const isRight = x > plot.clientWidth / 2;
            tip.style.left = isRight ? "" : `${x + 12}px`;
            tip.style.right = isRight ? `${plot.clientWidth - x + 12}px` : "";
            tip.style.top = "6px";
          },
        ],
      },
    },
    told.data,
    plot,
  );
  plot.append(tip);
  charts.set(plot.parentElement.id, { chart, plot, text: plot.dataset.chart });
}

function drawAll() {
  for (const plot of all("[data-chart]")) draw(plot);
}

// Looking again: the page is asked for anew, and what has changed in it is put in place.

let isAsking = false;
let isOwed = false;
let isSignedOut = false;
let stream;
let every = 0;  // the timer of a page that has no stream

const say = (name, text) => {
  const state = document.getElementById("link-state");
  if (isSignedOut || state.textContent === text) return;
  state.className = `link-state ${name}`;
  state.textContent = text;
};

const isHeld = (region) => {
  const typing = "input:not([type=checkbox]), textarea, select";
  if (region.contains(document.activeElement) && document.activeElement.matches(typing)) return true;
  if (one("input[type=checkbox]:checked", region)) return true;
  const selection = getSelection();
  return !selection.isCollapsed && region.contains(selection.anchorNode);
};

function renew(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && all("a, button, summary, input, [tabindex]", old).indexOf(focused);
  const open = new Map(all("details[id]", old).map((part) => [part.id, part.open]));
  const scrolled = all(".scroll, pre", old).map((part) => [part.scrollLeft, part.scrollTop]);
  old.replaceChildren(...fresh.childNodes);
  for (const part of all("details[id]", old)) if (open.has(part.id)) part.open = open.get(part.id);
  all(".scroll, pre", old).forEach((part, at) => {
    if (scrolled[at]) [part.scrollLeft, part.scrollTop] = scrolled[at];
  });
  if (focused) all("a, button, summary, input, [tabindex]", old)[place]?.focus({ preventScroll: true });
}

function renewCharts(old, fresh) {
  for (const figure of all("figure", fresh)) {
    const before = document.getElementById(figure.id);
    const plot = one("[data-chart]", figure);
    const known = charts.get(figure.id);
    if (!before || !plot || !known || !before.contains(known.plot)) return false;
  }
  for (const figure of all("figure", fresh)) {
    const before = document.getElementById(figure.id);
    const known = charts.get(figure.id);
    const plot = one("[data-chart]", figure);
    if (plot.dataset.chart !== known.text) {
      known.plot.dataset.chart = known.text = plot.dataset.chart;
      draw(known.plot);
    }
    one(".legend", before).replaceWith(one(".legend", figure));
    const [table, anew] = [one("table", before), one("table", figure)];
    if (table && anew) table.replaceWith(anew);
  }
  return true;
}

async function lookAgain() {
  if (isSignedOut) return;
  if (document.hidden || isAsking) {
    isOwed = true;
    return;
  }
  isAsking = true;
  isOwed = false;
  try {
    const [status, text] = await asked();
    if (status === 200 || status === 404) show(status, new DOMParser().parseFromString(text, "text/html"));
  } finally {
    isAsking = false;
  }
}

async function asked() {
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) signOut();
    else if (every) say("off", "every 15s");
    return [answer.status, await answer.text()];
  } catch {
    say("off", "no answer");
    return [0, ""];
  }
}

function signOut() {
  say("off", "");
  isSignedOut = true;
  const link = element("a", "", "signed out");
  link.href = location.pathname + location.search;
  document.getElementById("link-state").append(link);
  stream.close();
  clearInterval(every);
}

function show(status, page) {
  if (status === 404) {
    const note = document.getElementById("note");
    one("main").replaceChildren(...(note ? [note] : []), ...one("main", page).childNodes);  // what it was of has gone
    return;
  }
  for (const old of all("[data-region]")) {
    const fresh = page.getElementById(old.id);
    if (!fresh || isHeld(old)) continue;
    if (old.dataset.region === "charts") {
      if (!renewCharts(old, fresh)) {
        renew(old, fresh);
        drawAll();
      }
    } else if (old.dataset.shown !== fresh.innerHTML) {
      old.dataset.shown = fresh.innerHTML;
      renew(old, fresh);
    }
  }
  heed();
}

function follow() {
  let mark = document.body.dataset.mark;
  const now_and_then = () => {
    say("off", "every 15s");
    every ||= setInterval(lookAgain, 15000);
    lookAgain();
  };
  stream = new EventSource(`${root}/live`);
  stream.addEventListener("look", (event) => {
    const told = JSON.parse(event.data);
    clearInterval(every);
    every = 0;
    if (told.mark === "unreachable") {
      say("off", "store away");
      return;
    }
    say("on", "live");
    if (mark !== told.mark) lookAgain();
    mark = told.mark;
  });
  stream.onerror = () => {
    if (stream.readyState === EventSource.CLOSED) now_and_then();
    else say("off", "reconnecting");
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isOwed) lookAgain();
  });
  addEventListener("pagehide", () => stream.close());
}

// Small comforts

function heed() {
  const form = document.getElementById("choosing");
  if (!form || !one(".bulk", form)) return;
  const head = one("thead .choose", form);
  if (head && !one("input", head)) {
    const box = element("input");
    box.type = "checkbox";
    box.setAttribute("aria-label", "Choose all on this page");
    head.replaceChildren(box);
  }
  count(form);
}

function count(form) {
  const chosen = all("tbody input:checked", form).length;
  document.getElementById("chosen-count").textContent = chosen ? `${chosen} chosen:` : "Chosen jobs:";
  for (const button of all(".bulk button", form)) button.disabled = chosen === 0;
  const box = one("thead input", form);
  if (box) {
    const boxes = all("tbody input", form).length;
    box.checked = chosen > 0 && chosen === boxes;
    box.indeterminate = chosen > 0 && chosen < boxes;
  }
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("#choosing");
  if (form) {
    if (event.target.closest("thead")) for (const box of all("tbody input", form)) box.checked = event.target.checked;
    count(form);
  }
  if (event.target.matches(".filter select")) event.target.form.requestSubmit();
});

document.addEventListener("submit", (event) => {
  for (const field of all("input, select", event.target)) {
    if (event.target.method === "get" && field.name && !field.value) field.disabled = true;  // a short address
  }
});
addEventListener("pageshow", () => {
  for (const field of all(".filter :disabled")) field.disabled = false;
});

function forgetNote() {
  const address = new URL(location.href);
  if (!address.searchParams.has("said")) return;
  address.searchParams.delete("said");
  address.searchParams.delete("n");
  history.replaceState(null, "", address);
}

const bulk = one("form[data-goes-on]");
if (bulk) bulk.requestSubmit();

for (const region of all("[data-region]")) region.dataset.shown = region.innerHTML;
forgetNote();
heed();
drawAll();
if ("mark" in document.body.dataset) follow();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  drawAll();
});
