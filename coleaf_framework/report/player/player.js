// Plays a video beside its events, and follows thresholds, chosen classes, pointer and keys.
const VIDEOS = JSON.parse(document.getElementById("data").textContent);
const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000"];
const LIGHT = new Set(["#CC79A7", "#E69F00", "#56B4E9", "#F0E442"]); // take black text
const SLIDERS = ["segment", "audio", "visual"], MOST_BARS = 4000, MORE_ROWS = 300;
const $ = (id) => document.getElementById(id);
const state = { video: null, media: null, at: 0, off: new Set(), events: [], drawn: new Map(), active: new Set(), rows: MORE_ROWS };
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const colour = (label) => PALETTE[Math.max(0, state.video.classes.indexOf(label)) % PALETTE.length];
const swatch = (label) => { const s = element("i", { class: "swatch" }); s.style.background = colour(label); return s; };
const inWords = (e) => `${e.label}, ${WORDS[e.modality]}, ${clock(e.onset)} to ${clock(e.offset)}`;
const own = () => $("own").checked;
const inUse = () => SLIDERS.map((id) => `${id}${id === "segment" ? "" : " gate"} ${$(`${id}-shown`).textContent}`).join(", ");
const steps = () => Object.fromEntries(SLIDERS.map((id) => [id, Number($(id).value)]));

function clock(seconds) { // "2.5 s" in a video under a minute, otherwise "1:02.5"
  const hundredths = Math.round(100 * seconds), rest = hundredths % 6000;
  if (state.video.seconds < 60) return `${hundredths / 100} s`;
  const pad = (x) => (x < 10 ? `0${x}` : `${x}`), minutes = Math.floor(hundredths / 6000), hours = Math.floor(minutes / 60);
  return `${hours ? `${hours}:${pad(minutes % 60)}` : minutes}:${pad(rest / 100)}`;
}

function stretch() { // the shown part of the timeline, which always holds the cursor
  const length = Number($("stretch").value) || state.video.seconds;
  const from = Math.min(Math.floor(state.at / length + 1e-9), Math.ceil(state.video.seconds / length - 1e-9) - 1) * length;
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
  const many = here.length > MOST_BARS ? ` These are too many to draw: choose a shorter stretch or higher thresholds.` : "";
  $("summary").textContent = (state.events.length
    ? `${state.events.length} ${state.events.length === 1 ? "event" : "events"} of ${classes} ${classes === 1 ? "class" : "classes"}${part}`
    : "No events of the classes that are on") + `, at ${own() ? "the run's own thresholds" : "thresholds chosen here"}: ${inUse()}.${many}`;
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
    lines.set(label, [line, element("div", { class: "row" }, element("span", { class: "name", title: label }, swatch(label), label),
      element("span", { class: "kinds" }, element("span", {}, "audio"), element("span", {}, "visual")), line)]);
  }
  const wide = $("scale").clientWidth;
  for (const e of events) {
    const start = Math.max(e.onset, from), end = Math.min(e.offset, to), paint = colour(e.label);
    const pixels = ((end - start) * wide) / (to - from), slim = pixels < 34 ? (pixels < 4 ? " slim hair" : " slim") : "";
    const bar = element("button", { type: "button", class: `bar ${WORDS[e.modality]}${slim}`, tabindex: "-1", title: inWords(e), "aria-label": inWords(e) },
      slim ? "" : WORDS[e.modality]);
    Object.assign(bar.style, { left: `${(100 * (start - from)) / (to - from)}%`, width: `${(100 * (end - start)) / (to - from)}%`,
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
    const row = element("tr", {}, element("td", {}, go), element("td", {}, WORDS[e.modality]), element("td", {}, clock(e.onset)),
      element("td", {}, clock(e.offset)), element("td", {}, e.confidence.toFixed(4)));
    row.addEventListener("click", () => seek(e.onset));
    state.drawn.get(e).push(row);
    return row;
  });
  $("list").replaceChildren(...(rows.length ? rows : [element("tr", {}, element("td", { colspan: "5" }, "none here"))]));
  $("more").hidden = here.length <= state.rows;
}

function drawOverview(from, to) {
  const { seconds } = state.video, N = 1000, count = new Uint16Array(N + 1);
  $("overview").toggleAttribute("hidden", to - from >= seconds);
  for (const e of state.events)
    for (let x = Math.floor((N * e.onset) / seconds); x < Math.ceil((N * e.offset) / seconds) && x < N; x++) count[x]++;
  const most = Math.max(1, ...count);
  $("density").setAttribute("d", `M0 1${[...count.subarray(0, N)].map((n, x) => `V${1 - (0.9 * n) / most}H${x + 1}`).join("")}V1Z`);
  $("stretch-shown").setAttribute("x", (N * from) / seconds);
  $("stretch-shown").setAttribute("width", (N * Math.min(to - from, seconds)) / seconds);
}

function tick() { // the cursor, and what happens now
  const { media, video } = state, ready = media && media.readyState > 0;
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
  const names = [...now].slice(0, 8).map((e) => element("b", {}, swatch(e.label), `${e.label} (${WORDS[e.modality]})`));
  if (now.size > 8) names.push(element("span", {}, `and ${now.size - 8} more`));
  $("happening").replaceChildren(...(now.size ? names : ["no event now"]));
  const box = $("scroll"), row = box.querySelector("tr[aria-current]");
  if (row && !box.matches(":hover, :focus-within")) box.scrollTop = row.offsetTop - box.clientHeight / 2;
}

function seek(seconds) {
  state.at = Math.min(Math.max(seconds, 0), state.video.seconds);
  const { media } = state;
  if (media && media.readyState > 0) media.currentTime = Math.min(state.at, media.duration || state.at);
  tick();
}

function jump(direction) { // to the next or previous start of an event; while playing, a second's grace for the previous
  const limit = direction > 0 ? state.at + 1e-3 : state.at - (state.media && !state.media.paused ? 1 : 1e-3);
  const starts = state.events.map((e) => e.onset).filter((t) => (direction > 0 ? t > limit : t < limit));
  if (!starts.length) return void ($("said").textContent = direction > 0 ? "no later event" : "no earlier event");
  const start = direction > 0 ? starts[0] : starts[starts.length - 1];
  seek(start);
  $("said").textContent = state.events.filter((e) => e.onset === start).map(inWords).join("; ");
}

function onKey(event) {
  const { target, key } = event, { media } = state;
  if (event.ctrlKey || event.altKey || event.metaKey || !$("keys").checked || target.closest("input, select, textarea")) return;
  const moves = { n: () => jump(1), p: () => jump(-1), ArrowLeft: () => seek(state.at - 1), ArrowRight: () => seek(state.at + 1),
    " ": () => (media.paused ? media.play().catch(() => {}) : media.pause()) };
  if (target === $("scale")) Object.assign(moves, { Home: () => seek(0), End: () => seek(state.video.seconds) });
  const move = moves[key.length === 1 ? key.toLowerCase() : key];
  if (!move || (target === media && !/^[np]$/i.test(key)) || (key === " " && target.closest("button, summary, a"))) return;
  event.preventDefault();
  move();
}
