// Plays a video beside its events, and follows thresholds, chosen classes, pointer and keys.
const VIDEOS = JSON.parse(document.getElementById("data").textContent);
const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000"];
const LIGHT = new Set(["#CC79A7", "#E69F00", "#56B4E9", "#F0E442"]); // take black text
const SLIDERS = ["segment", "audio", "visual"], MOST_BARS = 4000, MORE_ROWS = 300;
const $ = (id) => document.getElementById(id);
const state = {
  video: null, media: null,
  at: 0, aim: null, // seconds: the cursor, and where to seek as soon as that is possible
  off: new Set(), events: [], // classes switched off; the events of the others
  from: 0, rows: MORE_ROWS, // start of the shown stretch; rows of the table
  drawn: new Map(), active: new Set(), // event of the stretch -> its bar and row; events that happen now
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const colour = (label) => PALETTE[Math.max(0, state.video.classes.indexOf(label)) % PALETTE.length];
const inWords = (e) => `${e.label}, ${WORDS[e.modality]}, ${clock(e.onset)} to ${clock(e.offset)}`;
const amount = (n, one, many) => `${n} ${n === 1 ? one : many}`;
const own = () => $("own").checked;
const inUse = () =>
  SLIDERS.map((id) => `${id}${id === "segment" ? "" : " gate"} ${$(`${id}-shown`).textContent}`).join(", ");
const steps = () => Object.fromEntries(SLIDERS.map((id) => [id, Number($(id).value)]));

function swatch(label) {
  const made = element("i", { class: "swatch" });
  made.style.background = colour(label);
  return made;
}

function clock(seconds) { // "2.5 s" in a video under a minute, otherwise "1:02.5"
  const hundredths = Math.round(100 * seconds), rest = hundredths % 6000;
  if (state.video.seconds < 60) return `${hundredths / 100} s`;
  const pad = (x) => (x < 10 ? `0${x}` : `${x}`);
  const minutes = Math.floor(hundredths / 6000), hours = Math.floor(minutes / 60);
  return `${hours ? `${hours}:${pad(minutes % 60)}` : minutes}:${pad(rest / 100)}`;
}

function stretch() { // the shown part of the timeline, which always holds the cursor
  const length = Number($("stretch").value) || state.video.seconds;
  const last = Math.ceil(state.video.seconds / length - 1e-9) - 1;
  const from = Math.min(Math.floor(state.at / length + 1e-9), last) * length;
  return [from, from + length];
}

function decide() {
  const { video } = state, all = own() ? video.events : listEvents(video, steps());
  state.events = all.filter((e) => !state.off.has(e.label));
  state.rows = MORE_ROWS;
  for (const id of SLIDERS) {
    const value = own() ? video.own[id] : ($(id).value / 100).toFixed(2);
    $(`${id}-shown`).textContent = value;
    $(id).setAttribute("aria-valuetext", value);
  }
  const on = video.classes.filter((label) => !state.off.has(label)).length;
  $("count").textContent = on === video.classes.length ? `all ${on} on` : `${on} of ${video.classes.length} on`;
  draw();
}

function draw() {
  const [from, to] = stretch(), here = state.events.filter((e) => e.offset > from && e.onset < to);
  state.from = from;
  $("pages").hidden = !Number($("stretch").value);
  state.drawn = new Map(here.map((e) => [e, []]));
  state.active = new Set();
  drawAxis(from, to);
  drawRows(here.length > MOST_BARS ? [] : here, from, to);
  drawTable(here);
  drawOverview(from, to);
  const classes = new Set(state.events.map((e) => e.label)).size;
  const part = here.length === state.events.length ? "" : `, ${here.length} of them in the stretch shown`;
  const found = state.events.length
    ? `${amount(state.events.length, "event", "events")} of ${amount(classes, "class", "classes")}${part}`
    : "No events of the classes that are on";
  const where = own() ? "the run's own thresholds" : "thresholds chosen here";
  const many = " These are too many to draw: choose a shorter stretch or higher thresholds.";
  $("summary").textContent = `${found}, at ${where}: ${inUse()}.${here.length > MOST_BARS ? many : ""}`;
  tick();
}

function drawAxis(from, to) {
  const wide = Math.max(2, $("scale").clientWidth / 64), length = to - from;
  const nice = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const step = nice.find((s) => length / s <= wide) ?? 14400, ticks = [];
  for (let i = 0; i * step <= length + 1e-9; i++) {
    const mark = element("span", {}, clock(from + i * step).replace(" s", ""));
    mark.style.left = `${(100 * i * step) / length}%`;
    ticks.push(mark);
  }
  $("scale").replaceChildren(...ticks);
  $("scale").setAttribute("aria-valuemax", state.video.seconds);
  $("plot").style.setProperty("--step", `${(100 * step) / length}%`);
}

function drawRows(events, from, to) {
  const { video } = state, filled = new Set(state.events.map((e) => e.label)), lines = new Map();
  for (const label of new Set(video.classes)) {
    if (state.off.has(label) || !(filled.has(label) || $("empty").checked)) continue;
    const line = element("div", { class: "time tracks" });
    const name = element("span", { class: "name", title: label }, swatch(label), label);
    const kinds = element("span", { class: "kinds" }, element("span", {}, "audio"), element("span", {}, "visual"));
    lines.set(label, [line, element("div", { class: "row" }, name, kinds, line)]);
  }
  const wide = $("scale").clientWidth;
  for (const e of events) {
    const start = Math.max(e.onset, from), end = Math.min(e.offset, to), paint = colour(e.label);
    const pixels = ((end - start) * wide) / (to - from), slim = pixels < 34;
    const kind = `bar ${WORDS[e.modality]}${slim ? " slim" : ""}${pixels < 4 ? " hair" : ""}`;
    const bar = element("button", { type: "button", class: kind, tabindex: "-1", title: inWords(e),
      "aria-label": inWords(e) }, slim ? "" : WORDS[e.modality]);
    Object.assign(bar.style, { left: `${(100 * (start - from)) / (to - from)}%`,
      width: `${(100 * (end - start)) / (to - from)}%`,
      background: paint, color: LIGHT.has(paint) ? "#000" : "#fff" });
    bar.addEventListener("click", () => seek(e.onset));
    lines.get(e.label)[0].append(bar);
    state.drawn.get(e).push(bar);
  }
  $("rows").replaceChildren(...[...lines.values()].map(([, row]) => row));
}

function drawTable(here) {
  const rows = here.slice(0, state.rows).map((e) => {
    const go = element("button", { type: "button", title: "go to its start" }, swatch(e.label), e.label);
    const cells = [go, WORDS[e.modality], clock(e.onset), clock(e.offset), e.confidence.toFixed(4)];
    const row = element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
    row.addEventListener("click", () => seek(e.onset));
    state.drawn.get(e).push(row);
    return row;
  });
  if (!rows.length) rows.push(element("tr", {}, element("td", { colspan: "5" }, "none here")));
  $("list").replaceChildren(...rows);
  $("more").hidden = here.length <= state.rows;
}

function drawOverview(from, to) {
  const { seconds } = state.video, N = 1000, count = new Uint16Array(N + 1);
  $("overview").toggleAttribute("hidden", to - from >= seconds);
  for (const e of state.events)
    for (let x = Math.floor((N * e.onset) / seconds); x < Math.ceil((N * e.offset) / seconds) && x < N; x++) count[x]++;
  const most = Math.max(1, ...count);
  const steps = Array.from(count.subarray(0, N), (n, x) => `V${1 - (0.9 * n) / most}H${x + 1}`);
  $("density").setAttribute("d", `M0 1${steps.join("")}V1Z`);
  $("stretch-shown").setAttribute("x", (N * from) / seconds);
  $("stretch-shown").setAttribute("width", (N * Math.min(to - from, seconds)) / seconds);
}

function tick() { // the cursor, and what happens now
  const { media, video } = state, ready = media.readyState > 0 && state.aim === null;
  if (ready) state.at = Math.min(media.currentTime, video.seconds);
  const [from, to] = stretch();
  if (from !== state.from) return draw();
  $("cursor").style.setProperty("--at", (state.at - from) / (to - from));
  $("position").textContent = clock(Math.floor(10 * state.at + 1e-6) / 10);
  $("scale").setAttribute("aria-valuenow", state.at.toFixed(2));
  $("scale").setAttribute("aria-valuetext", clock(state.at));
  const now = [...state.drawn.keys()].filter((e) => e.onset <= state.at + 1e-6 && state.at + 1e-6 < e.offset);
  if (now.length !== state.active.size || now.some((e) => !state.active.has(e)) || !now.length) mark(new Set(now));
}

function mark(now) {
  for (const [e, shown] of state.drawn)
    if (now.has(e) !== state.active.has(e))
      for (const x of shown) now.has(e) ? x.setAttribute("aria-current", "true") : x.removeAttribute("aria-current");
  state.active = now;
  const name = (e) => element("b", {}, swatch(e.label), `${e.label} (${WORDS[e.modality]})`);
  const names = [...now].slice(0, 8).map(name);
  if (now.size > 8) names.push(element("span", {}, `and ${now.size - 8} more`));
  $("happening").replaceChildren(...(now.size ? names : ["no event now"]));
  const box = $("scroll"), row = box.querySelector("tr[aria-current]");
  if (row && !box.matches(":hover, :focus-within")) box.scrollTop = row.offsetTop - box.clientHeight / 2;
}

function seek(seconds) {
  state.at = state.aim = Math.min(Math.max(seconds, 0), state.video.seconds);
  steer();
  tick();
}

function steer() { // one seek at a time: Chromium may never end one that another has overtaken
  const { media, aim } = state;
  if (aim === null || media.readyState === 0 || media.seeking) return;
  state.aim = null;
  media.currentTime = Math.min(aim, media.duration || aim);
}

// To the next or previous start of an event; while playing, one that has just begun is no longer the previous.
function jump(direction) {
  const limit = direction > 0 ? state.at + 1e-3 : state.at - (!state.media.paused ? 1 : 1e-3);
  const starts = state.events.map((e) => e.onset).filter((t) => (direction > 0 ? t > limit : t < limit));
  if (!starts.length) {
    $("said").textContent = direction > 0 ? "no later event" : "no earlier event";
    return;
  }
  const start = direction > 0 ? starts[0] : starts[starts.length - 1];
  seek(start);
  $("said").textContent = state.events.filter((e) => e.onset === start).map(inWords).join("; ");
}

function onKey(event) {
  const { target, key } = event, { media } = state;
  if (event.ctrlKey || event.altKey || event.metaKey || !$("keys").checked) return;
  if (target.closest("input, select, textarea")) return;
  const moves = { n: () => jump(1), p: () => jump(-1),
    ArrowLeft: () => seek(state.at - 1), ArrowRight: () => seek(state.at + 1),
    " ": () => (media.paused ? media.play().catch(() => {}) : media.pause()) };
  if (target === $("scale")) Object.assign(moves, { Home: () => seek(0), End: () => seek(state.video.seconds) });
  const move = moves[key.length === 1 ? key.toLowerCase() : key];
  const theirs = (target === media && !/^[np]$/i.test(key)) || (key === " " && target.closest("button, summary, a"));
  if (!move || theirs) return;
  event.preventDefault();
  move();
}
