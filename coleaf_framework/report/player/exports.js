// Files of the events as shown.

// As `coleaf parse` writes it (results/events_file.py), so that `coleaf plot` reads it.
function asJson(video, events, remarks) {
  const content = { parser: video.parser, data: "media files", split: "test", notes: [...video.notes, ...remarks],
    videos: Object.fromEntries([[video.id, { seconds: video.seconds, events, ground_truth: null }]]) };
  return JSON.stringify(content, null, 1) + "\n";
}

function asCsv(video, events) { // RFC 4180
  const cell = (x) => (/[",\r\n]/.test(x) ? `"${String(x).replaceAll('"', '""')}"` : String(x));
  const rows = events.map((e) => [video.id, e.label, e.modality, e.onset, e.offset, e.confidence]);
  return [["video", "label", "modality", "onset", "offset", "confidence"], ...rows]
    .map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function asVtt(events) { // one cue an event
  const pad = (x, n) => String(x).padStart(n, "0");
  const time = (seconds) => {
    const ms = Math.round(1000 * seconds), s = Math.floor(ms / 1000), m = Math.floor(s / 60);
    return `${pad(Math.floor(m / 60), 2)}:${pad(m % 60, 2)}:${pad(s % 60, 2)}.${pad(ms % 1000, 3)}`;
  };
  const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const text = (label) => label.replace(/[\r\n]+/g, " ").replace(/[&<>]/g, (c) => escapes[c]);
  const word = (e) => (e.modality === "audible-visible" ? "heard and seen" : WORDS[e.modality]);
  const cues = events.map((e) => `${time(e.onset)} --> ${time(e.offset)}\n${text(e.label)} (${word(e)})`);
  return ["WEBVTT", ...cues].join("\n\n") + "\n";
}

// A name that every file system takes.
function fileName(id) {
  const plain = id.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]/g, "_");
  return plain.replace(/^[.\s]+|[.\s]+$/g, "_").slice(0, 100) || "events";
}

function download(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
