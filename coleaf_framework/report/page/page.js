"use strict";
// Recomputes all scores and events from the probabilities for the chosen thresholds, as coleaf_framework.metrics does.
const DATA = JSON.parse(document.getElementById("data").textContent);
const { classes, ids, segments: T, columns, seconds } = DATA;
const C = classes.length, N = ids.length, PAGE = 20;
const TYPES = ["audible-only", "visible-only", "audible-visible", "none"];
const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000"];
const LIGHT = new Set(["#E69F00", "#56B4E9", "#F0E442", "#CC79A7"]);
const $$ = (id) => document.getElementById(id);
const state = { shown: PAGE, mask: null, truth: null, runs: [] };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

async function bytes(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const at = (n, t, m, c) => ((n * T + t) * 2 + m) * C + c;

function decide(run) {
  if ($$("own").checked) return run.own;
  const minimum = Number($$("segment").value), gate = [Number($$("audio").value), Number($$("visual").value)];
  const decided = new Uint8Array(N * T * 2 * C);
  for (let n = 0; n < N; n++)
    for (let m = 0; m < 2; m++)
      for (let c = 0; c < C; c++) {
        if (run.gates[(n * 2 + m) * C + c] < gate[m]) continue;
        for (let t = 0; t < T; t++) {
          const i = at(n, t, m, c);
          if (state.mask[n * T + t] && run.levels[i] >= minimum) decided[i] = 1;
        }
      }
  return decided;
}

function eventsOf(active) { // maximal runs of active segments, as [start, end)
  const events = [];
  for (let t = 0, start = -1; t <= active.length; t++) {
    const on = t < active.length && active[t];
    if (on && start < 0) start = t;
    if (!on && start >= 0) { events.push([start, t]); start = -1; }
  }
  return events;
}

function countEvents(predicted, true_) {
  const p = eventsOf(predicted), t = eventsOf(true_);
  const matches = (a, b) => { // IoU >= 0.5
    const overlap = Math.max(0, Math.min(a[1], b[1]) - Math.max(a[0], b[0]));
    return 2 * overlap >= a[1] - a[0] + b[1] - b[0] - overlap;
  };
  const hits = p.filter((a) => t.some((b) => matches(a, b))).length;
  const matched = t.filter((b) => p.some((a) => matches(a, b))).length;
  return [hits, p.length - hits, t.length - matched];
}

function countSegments(predicted, true_) {
  const counts = [0, 0, 0];
  for (let t = 0; t < T; t++) {
    if (predicted[t] && true_[t]) counts[0]++;
    else if (predicted[t]) counts[1]++;
    else if (true_[t]) counts[2]++;
  }
  return counts;
}

const SPLITS = [(a, v) => a, (a, v) => v, (a, v) => a & ~v & 1, (a, v) => v & ~a & 1, (a, v) => a & v]; // A V Ao Vo AV

function videoScores(decided, n) { // F of A V Ao Vo AV Event@AV Event@AVo at both levels, null without support
  const sums = new Float64Array(14), support = new Float64Array(14);
  const predicted = SPLITS.map(() => new Uint8Array(T)), true_ = SPLITS.map(() => new Uint8Array(T));
  for (let c = 0; c < C; c++) {
    let any = 0;
    for (let t = 0; t < T; t++) {
      const i = at(n, t, 0, c), j = at(n, t, 1, c);
      SPLITS.forEach((split, k) => {
        predicted[k][t] = split(decided[i], decided[j]);
        true_[k][t] = split(state.truth[i], state.truth[j]);
      });
      any |= decided[i] | decided[j] | state.truth[i] | state.truth[j];
    }
    if (!any) continue;
    [countSegments, countEvents].forEach((count, level) => {
      const counts = SPLITS.map((_, k) => count(predicted[k], true_[k]));
      const add = (a, b) => a.map((x, k) => x + b[k]);
      counts.push(add(counts[0], counts[1]), add(counts[2], counts[3]));
      counts.forEach(([tp, fp, fn], k) => {
        if (!(tp + fp + fn)) return;
        sums[7 * level + k] += 2 * tp / (2 * tp + fp + fn);
        support[7 * level + k]++;
      });
    });
  }
  return Array.from(sums, (sum, k) => (support[k] ? sum / support[k] : null));
}

const mean = (values) => {
  const known = values.filter((x) => x !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
};

function allColumns(f) { // seven measured means of a level -> the nine columns
  const [A, V, Ao, Vo, AV, E, Eo] = f;
  return [A, Ao, V, Vo, AV, mean([A, V, AV]), mean([Ao, Vo, AV]), E, Eo];
}

function score(decided) {
  const byVideo = [];
  for (let n = 0; n < N; n++) byVideo.push(videoScores(decided, n));
  const published = [], supported = [];
  for (let k = 0; k < 14; k++) {
    published.push(100 * mean(byVideo.map((f) => (f[k] === null ? 1 : f[k]))));
    const known = mean(byVideo.map((f) => f[k]));
    supported.push(known === null ? null : 100 * known);
  }
  const both = [published, supported].flatMap((x) => [...allColumns(x.slice(0, 7)), ...allColumns(x.slice(7))]);
  // The score of a video for sorting: support-only Type@AVo (AV, where that alone exists) at segment level, since the
  // published column gives 100 where nothing is there and nothing is predicted.
  const parts = columns.includes("Type@AVo") ? [2, 3, 4] : [4];
  const own = byVideo.map((f) => 100 * (mean(parts.map((k) => f[k])) ?? 1));
  return { columns: both, videos: own };
}

function typeTable(decided) {
  const kind = (a, v) => (a ? (v ? 2 : 0) : v ? 1 : 3);
  const table = TYPES.map(() => [0, 0, 0, 0]);
  for (let n = 0; n < N; n++)
    for (let t = 0; t < T; t++) {
      if (!state.mask[n * T + t]) continue;
      for (let c = 0; c < C; c++) {
        const i = at(n, t, 0, c), j = at(n, t, 1, c);
        table[kind(state.truth[i], state.truth[j])][kind(decided[i], decided[j])]++;
      }
    }
  return table;
}

function table(caption, heads, rows) {
  const made = element("table", {}, element("caption", {}, caption));
  made.append(element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))));
  const body = element("tbody");
  for (const { name, values, digits = 1, trivial, id } of rows) {
    const row = element("tr", trivial ? { class: "trivial" } : {}, element("th", { scope: "row" }, name));
    values.forEach((value, k) =>
      row.append(element("td", { "data-value": value, ...(id ? { "data-cell": `${id}/${k}` } : {}) },
        value === null || Number.isNaN(value) ? "-" : value.toFixed(digits))));
    body.append(row);
  }
  made.append(body);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
}

function showScores() {
  const blocks = ["segment-level", "event-level", "segment-level, support-only", "event-level, support-only"];
  $$("live-scores").replaceChildren(...blocks.map((block, b) => {
    const pick = (values) => DATA.kept.map((k) => values[9 * b + k]); // of nine, those that exist
    const rows = state.runs.map((run, r) => ({ name: run.name, values: pick(run.scores.columns), id: `${r}/${b}` }));
    const trivial = DATA.trivial.map(({ name, columns: all }) => ({ name, values: pick(all), trivial: true }));
    return table(block, ["F, percent", ...columns], [...rows, ...trivial]);
  }));
  $$("live-types").replaceChildren(...state.runs.map((run, r) => {
    const counted = typeTable(run.decided);
    const rows = DATA.true_types.map((i) => {
      const counts = counted[i];
      const all = counts.reduce((a, b) => a + b, 0);
      return { name: TYPES[i], values: counts.map((x) => (all ? 100 * x / all : null)), id: `types/${r}/${i}` };
    });
    return table(run.name, ["true \\ predicted", ...TYPES], rows);
  }));
}

const inSeconds = (t) => Number((t * seconds).toFixed(3)); // 0.96, not 3 * 0.32

function lanes(decided, n, m, who, first) {
  const length = state.lengths[n], track = element("div", { class: "track", role: "img" });
  track.style.setProperty("--second", `${100 / (length * seconds)}%`);
  const labels = [];
  let lane = 0;
  for (let c = 0; c < C; c++) {
    const active = new Uint8Array(T);
    for (let t = 0; t < T; t++) active[t] = decided[at(n, t, m, c)];
    const events = eventsOf(active);
    for (const [start, end] of events) {
      const words = `${classes[c]}, ${inSeconds(start)} to ${inSeconds(end)} s`;
      const bar = element("div", { class: "bar", title: words }, classes[c]);
      const colour = PALETTE[c % PALETTE.length];
      Object.assign(bar.style, { left: `${100 * start / length}%`, width: `${100 * (end - start) / length}%`,
        top: `${0.1 + 1.2 * lane}rem`, background: colour, color: LIGHT.has(colour) ? "#000" : "#fff" });
      track.append(bar);
      labels.push(words);
    }
    if (events.length) lane++;
  }
  track.style.height = `${Math.max(1, lane) * 1.2 + 0.1}rem`;
  track.setAttribute("aria-label", `${who}: ${labels.join("; ") || "nothing"}`);
  return element("div", { class: first ? "lane first" : "lane" }, element("span", { class: "who" }, who), track);
}

function showVideos() {
  const wanted = $$("search").value.trim().toLowerCase();
  const [treated, control] = [state.runs[$$("treated").value], state.runs[$$("control").value]];
  const gain = (n) => treated.scores.videos[n] - control.scores.videos[n];
  let matching = [...ids.keys()].filter((n) => !wanted || ids[n].toLowerCase().includes(wanted) ||
    state.inside[n].some((c) => classes[c].toLowerCase().includes(wanted)));
  const direction = { gain: -1, loss: 1 }[$$("sort").value];
  if (direction) matching = matching.sort((a, b) => direction * (gain(a) - gain(b)) || a - b);
  const shown = matching.slice(0, state.shown);
  $$("count").textContent = `${matching.length} of ${N} videos, ${shown.length} shown`;
  $$("more").hidden = shown.length === matching.length;
  $$("list").replaceChildren(...shown.map((n) => {
    const sentence = `${columns.includes("Type@AVo") ? "Type@AVo" : "AV"} of its segments, support-only: ${state.runs.map((run) => `${run.name} ${run.scores.videos[n].toFixed(1)}`).join(", ")}` +
      (treated === control ? "" : `; gain ${gain(n) >= 0 ? "+" : ""}${gain(n).toFixed(1)}`);
    const rows = [["ground truth", state.truth], ...state.runs.map((run) => [run.name, run.decided])].flatMap(([who, decided]) =>
      ["audio", "visual"].map((modality, m) => lanes(decided, n, m, `${who}, ${modality}`, m === 0)));
    return element("article", { class: "video", "data-id": ids[n] },
      element("h3", {}, ids[n], " ", element("span", { class: "gain" }, sentence)), ...rows);
  }));
}

function update() {
  for (const id of ["segment", "audio", "visual"]) $$(`${id}-shown`).textContent = (Number($$(id).value) / 100).toFixed(2);
  for (const run of state.runs) {
    run.decided = decide(run);
    run.scores = score(run.decided);
  }
  showScores();
  showVideos();
  document.body.dataset.ready = String(Number(document.body.dataset.ready || 0) + 1);
}

async function start() {
  state.mask = await bytes(DATA.mask);
  state.truth = await bytes(DATA.truth);
  for (const run of DATA.runs)
    state.runs.push({ name: run.name, own: await bytes(run.own), levels: await bytes(run.levels), gates: await bytes(run.gates) });
  state.lengths = ids.map((_, n) => state.mask.subarray(n * T, n * T + T).lastIndexOf(1) + 1);
  state.inside = ids.map((_, n) => [...classes.keys()].filter((c) => {
    for (let t = 0; t < T; t++) if (state.truth[at(n, t, 0, c)] | state.truth[at(n, t, 1, c)]) return true;
    return false;
  }));
  for (const id of ["treated", "control"])
    $$(id).append(...state.runs.map((run, r) => element("option", { value: r }, run.name)));
  $$("treated").value = state.runs.length - 1;
  for (const [id, value] of Object.entries(DATA.start)) $$(id).value = value;
  let waiting = false;
  const soon = () => { // redraw at most once per frame, however fast a slider moves
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; update(); });
  };
  for (const id of ["segment", "audio", "visual"])
    $$(id).addEventListener("input", () => { $$("own").checked = false; soon(); });
  $$("own").addEventListener("change", soon);
  for (const id of ["search", "sort", "treated", "control"])
    $$(id).addEventListener("input", () => { state.shown = PAGE; showVideos(); });
  $$("more").addEventListener("click", () => { state.shown += PAGE; showVideos(); });
  update();
}

start();
