// Loads a video into the page, and connects the controls.
function tell(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function playable(video) { // the URL of the media; what is embedded becomes a blob, in which every browser can seek
  const [head, body] = video.source.startsWith("data:") ? video.source.split(",") : [];
  if (head) {
    const type = /^data:([^;]*)/.exec(head)[1];
    Object.assign(video, { embedded: true, source: URL.createObjectURL(new Blob([bytes(body)], { type })) });
  }
  return video.source;
}

function media(video) {
  const made = element(video.absent === 1 ? "audio" : "video",
    { controls: "", preload: "metadata", playsinline: "", "aria-label": video.file, src: playable(video) });
  const on = (kind, act) => made.addEventListener(kind, () => { if (made === state.media) act(); });
  const follow = () => {
    tick();
    if (made === state.media && !made.paused && !calm.matches) requestAnimationFrame(follow);
  };
  on("play", follow);
  on("timeupdate", tick);
  on("seeking", tick);
  on("seeked", () => { steer(); tick(); });
  on("error", () => {
    $("stage").hidden = true;
    const lost = video.embedded ? "" : `there is no file at ${video.source}, or `;
    tell(`This browser cannot play ${video.file}: ${lost}it does not support the file's format. ` +
      "The timeline works without it.");
  });
  on("loadedmetadata", () => {
    steer();
    const { duration, videoWidth } = made;
    if (video.absent === null && !videoWidth)
      tell(`This browser plays only the sound of ${video.file}: it does not support the format of its pictures.`);
    else if (Math.abs(duration - video.seconds) > 1.5)
      tell(`${video.file} lasts ${duration.toFixed(1)} s here, and the parsed file lasted ${video.seconds} s: ` +
        "is it another file?");
  });
  return made;
}

function classList() {
  const wanted = $("search").value.trim().toLowerCase();
  const listed = [...new Set(state.video.classes)].filter((label) => label.toLowerCase().includes(wanted));
  $("classes").replaceChildren(...listed.map((label) => {
    const box = element("input", { type: "checkbox", value: label });
    box.checked = !state.off.has(label);
    box.addEventListener("change", () => { state.off[box.checked ? "delete" : "add"](label); decide(); });
    return element("label", {}, box, swatch(label), label);
  }));
}

function switchListed(on) {
  for (const box of $("classes").querySelectorAll("input")) {
    box.checked = on;
    state.off[on ? "delete" : "add"](box.value);
  }
  decide();
}

function stretches({ seconds }) {
  const known = [[60, "1 minute"], [300, "5 minutes"], [1800, "30 minutes"]].filter(([length]) => length < seconds);
  const options = [[0, "the whole video"], ...known].map(([value, name]) => element("option", { value }, name));
  $("stretch").replaceChildren(...options);
  $("stretch").value = seconds > 600 ? 300 : 0;
  $("stretches").hidden = !known.length;
}

async function load(video) {
  state.wanted = video;
  if (typeof video.probs === "string")
    [video.probs, video.gates] = await Promise.all([floats(video.probs), floats(video.gates)]);
  if (state.wanted !== video) return; // another was chosen meanwhile
  if (state.media) { state.media.pause(); state.media.removeAttribute("src"); }
  tell("");
  Object.assign(state, { video, at: 0, aim: null, media: media(video) });
  $("stage").hidden = false;
  $("stage").replaceChildren(state.media);
  $("file").textContent = video.file;
  $("gate").textContent = video.own.gate;
  $("notes").replaceChildren(...video.notes.map((note) => element("li", {}, note)));
  if (own()) for (const id of SLIDERS) $(id).value = video.start[id];
  stretches(video);
  classList();
  decide();
  document.body.dataset.ready = video.id;
}

function remarks() { // what a reader of an exported file has to know
  const { video } = state, said = [];
  if (!own()) said.push(`Thresholds chosen by hand on the page: ${inUse()}; gate on ${video.own.gate}.`);
  const off = video.classes.filter((label) => state.off.has(label));
  if (off.length) said.push(`Without events of ${off.join(", ")}, which were switched off on the page.`);
  return said;
}

function connectPointer() {
  const go = (event, line) => {
    const box = line.getBoundingClientRect(), [from, to] = stretch();
    seek(from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (to - from));
  };
  $("plot").addEventListener("pointerdown", (event) => {
    const line = event.button === 0 && !event.target.closest(".bar") && event.target.closest(".time");
    if (!line) return;
    line.setPointerCapture(event.pointerId);
    go(event, line);
  });
  $("plot").addEventListener("pointermove", (event) => {
    const line = event.target.closest(".time");
    if (line && line.hasPointerCapture(event.pointerId)) go(event, line);
  });
  $("overview").addEventListener("click", (event) => {
    const box = $("overview").getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * state.video.seconds);
  });
}

function connectThresholds() {
  let waiting = false;
  const soon = () => { // at most once per frame, however fast a slider moves
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; decide(); });
  };
  for (const id of SLIDERS) $(id).addEventListener("input", () => { $("own").checked = false; soon(); });
  $("own").addEventListener("change", () => {
    if (own()) for (const id of SLIDERS) $(id).value = state.video.start[id];
    decide();
  });
}

function connect() {
  const on = (id, kind, act) => $(id).addEventListener(kind, act);
  on("stretch", "input", draw);
  on("earlier", "click", () => seek(state.from - Number($("stretch").value)));
  on("later", "click", () => seek(state.from + Number($("stretch").value)));
  on("empty", "change", draw);
  on("search", "input", classList);
  on("all", "click", () => switchListed(true));
  on("none", "click", () => switchListed(false));
  on("more", "click", () => { state.rows += MORE_ROWS; draw(); });
  const save = (ending, kind, text) => download(`${fileName(state.video.id)}.${ending}`, kind, text);
  on("json", "click", () => save("json", "application/json", asJson(state.video, state.events, remarks())));
  on("csv", "click", () => save("csv", "text/csv", asCsv(state.video, state.events)));
  on("vtt", "click", () => save("vtt", "text/vtt", asVtt(state.events)));
  on("video", "input", chosen);
  document.addEventListener("keydown", onKey);
  addEventListener("resize", draw);
}

function chosen() {
  load(VIDEOS[$("video").value]).catch((problem) =>
    tell(`This browser cannot show the events (${problem.message}); a newer one can.`));
}

$("main").hidden = false;
$("own").checked = $("keys").checked = true; // a browser may restore other values on reload
$("empty").checked = false;
$("help").open = innerWidth > 832; // where it takes no place from the timeline
$("video").append(...VIDEOS.map((video, i) => element("option", { value: i }, video.id)));
$("pick").hidden = VIDEOS.length < 2;
connectPointer();
connectThresholds();
connect();
chosen();
