// Loads a video into the page, and connects the controls.
function tell(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function media(video) {
  const made = element(video.absent === 1 ? "audio" : "video", { controls: "", preload: "metadata", playsinline: "", "aria-label": video.file });
  video.embedded ??= video.source.startsWith("data:");
  const follow = () => {
    if (made !== state.media) return;
    tick();
    if (!made.paused && !calm.matches) requestAnimationFrame(follow);
  };
  for (const kind of ["play", "seeking", "seeked", "timeupdate"]) made.addEventListener(kind, kind === "play" ? follow : tick);
  made.addEventListener("error", () => {
    if (made !== state.media) return;
    $("stage").hidden = true;
    tell(`This browser cannot play ${video.file}: ` +
    `${video.embedded ? "it does not support the file's format" : `there is no file at ${made.getAttribute("src")}, or it does not support the file's format`}. The timeline works without it.`);
  });
  made.addEventListener("loadedmetadata", () => {
    if (made !== state.media) return;
    if (state.at) made.currentTime = state.at;
    if (video.absent === null && !made.videoWidth) tell(`This browser plays only the sound of ${video.file}: it does not support the format of its pictures.`);
    else if (Math.abs(made.duration - video.seconds) > 1.5) tell(`${video.file} lasts ${made.duration.toFixed(1)} s here, and the parsed file lasted ${video.seconds} s: is it another file?`);
  });
  if (video.source.startsWith("data:")) video.source = URL.createObjectURL(new Blob([bytes(video.source.split(",")[1])], { type: /^data:([^;,]*)/.exec(video.source)[1] }));
  made.src = video.source;
  return made;
}

function classList() {
  const wanted = $("search").value.trim().toLowerCase();
  $("classes").replaceChildren(...[...new Set(state.video.classes)].filter((label) => label.toLowerCase().includes(wanted)).map((label) => {
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
  $("stretch").replaceChildren(element("option", { value: 0 }, "the whole video"), ...known.map(([value, name]) => element("option", { value }, name)));
  $("stretch").value = seconds > 600 ? 300 : 0;
  $("stretches").hidden = !known.length;
}

async function load(video) {
  state.wanted = video;
  if (typeof video.probs === "string") [video.probs, video.gates] = await Promise.all([floats(video.probs), floats(video.gates)]);
  if (state.wanted !== video) return; // another was chosen meanwhile
  if (state.media) { state.media.pause(); state.media.removeAttribute("src"); }
  tell("");
  Object.assign(state, { video, at: 0, media: null });
  state.media = media(video);
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
  const { video } = state, chosen = [];
  if (!own()) chosen.push(`Thresholds chosen by hand on the page: ${inUse()}; gate on ${video.own.gate}.`);
  const off = video.classes.filter((label) => state.off.has(label));
  if (off.length) chosen.push(`Without events of ${off.join(", ")}, which were switched off on the page.`);
  return chosen;
}

function connect() {
  const onTime = (event) => { // seconds at the pointer
    const line = event.target.closest(".time"), box = line.getBoundingClientRect(), [from, to] = stretch();
    seek(from + Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * (to - from));
  };
  $("plot").addEventListener("pointerdown", (event) => {
    const line = event.button === 0 && !event.target.closest(".bar") && event.target.closest(".time");
    if (!line) return;
    line.setPointerCapture(event.pointerId);
    onTime(event);
  });
  $("plot").addEventListener("pointermove", (event) => {
    const line = event.target.closest(".time");
    if (line && line.hasPointerCapture(event.pointerId)) onTime(event);
  });
  $("overview").addEventListener("click", (event) => {
    const box = $("overview").getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * state.video.seconds);
  });
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
  $("stretch").addEventListener("input", draw);
  $("earlier").addEventListener("click", () => seek(state.from - Number($("stretch").value)));
  $("later").addEventListener("click", () => seek(state.from + Number($("stretch").value)));
  $("empty").addEventListener("change", draw);
  $("search").addEventListener("input", classList);
  $("all").addEventListener("click", () => switchListed(true));
  $("none").addEventListener("click", () => switchListed(false));
  $("more").addEventListener("click", () => { state.rows += MORE_ROWS; draw(); });
  const save = (ending, kind, text) => download(`${fileName(state.video.id)}.${ending}`, kind, text);
  $("json").addEventListener("click", () => save("json", "application/json", asJson(state.video, state.events, remarks())));
  $("csv").addEventListener("click", () => save("csv", "text/csv", asCsv(state.video, state.events)));
  $("vtt").addEventListener("click", () => save("vtt", "text/vtt", asVtt(state.events)));
  document.addEventListener("keydown", onKey);
  addEventListener("resize", draw);
  $("video").append(...VIDEOS.map((video, i) => element("option", { value: i }, video.id)));
  $("pick").hidden = VIDEOS.length < 2;
  $("video").addEventListener("input", () => load(VIDEOS[$("video").value]));
}

$("main").hidden = false;
$("own").checked = $("keys").checked = true; // a browser may restore other values on reload
$("empty").checked = false;
$("help").open = innerWidth > 832;
connect();
load(VIDEOS[$("video").value]).catch((problem) => tell(`This page needs a newer browser (${problem.message}).`));
