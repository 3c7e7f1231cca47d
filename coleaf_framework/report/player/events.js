"use strict";
// Decides events from probabilities as coleaf_framework.metrics does (decide, list_events), to the last digit.
const TYPES = ["audible-only", "visible-only", "audible-visible"];
const WORDS = { "audible-only": "heard", "visible-only": "seen", "audible-visible": "both" };

function bytes(text) { // of base64
  const raw = atob(text), made = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) made[i] = raw.charCodeAt(i);
  return made;
}

async function floats(text) { // little-endian float32, zlib-compressed, in base64
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Float32Array(await new Response(stream).arrayBuffer());
}

// Python's round: half to even. Only multiples of 1 / 2 ** (digits + 1) lie halfway between two decimals.
function rounded(x, digits) {
  const halves = x * 2 ** (digits + 1);
  if (!Number.isInteger(halves) || halves % 2 === 0) return Number(x.toFixed(digits));
  const low = Math.floor(x * 10 ** digits);
  return (low + (low % 2)) / 10 ** digits;
}

// The type of each segment and class at slider positions: 0 no event, otherwise 1 + index into TYPES; T x C.
function typesAt(video, steps) {
  const { probs, gates, segments: T, absent } = video, C = video.classes.length;
  const segment = Math.fround(steps.segment / 100);
  const gate = [Math.fround(steps.audio / 100), Math.fround(steps.visual / 100)];
  const types = new Uint8Array(T * C);
  for (let t = 0; t < T; t++)
    for (let m = 0; m < 2; m++) {
      if (m === absent) continue;
      for (let c = 0, i = (2 * t + m) * C; c < C; c++, i++)
        if (probs[i] >= segment && gates[i] >= gate[m]) types[t * C + c] += m + 1;
    }
  return types;
}

function confidence(video, type, c, start, end) {
  const C = video.classes.length, modalities = [[0], [1], [0, 1]][type];
  let sum = 0;
  for (let t = start; t < end; t++) for (const m of modalities) sum += video.probs[(2 * t + m) * C + c];
  return rounded(sum / ((end - start) * modalities.length), 4);
}

// Maximal runs of segments of one type, in order of onset, then label (a class has one type at a time).
function listEvents(video, steps) {
  const types = typesAt(video, steps), T = video.segments, C = video.classes.length, found = [];
  for (let type = 0; type < 3; type++)
    for (let c = 0; c < C; c++)
      for (let t = 0, start = -1; t <= T; t++) {
        const on = t < T && types[t * C + c] === type + 1;
        if (on && start < 0) start = t;
        if (on || start < 0) continue;
        found.push([start, video.order[c], { label: video.classes[c], modality: TYPES[type],
          onset: rounded(start * video.segment, 6), offset: rounded(t * video.segment, 6),
          confidence: confidence(video, type, c, start, t) }]);
        start = -1;
      }
  return found.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , event]) => event);
}
