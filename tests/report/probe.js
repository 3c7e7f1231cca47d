// What a user of the report does, and what they then see; added to the page by test_page.py.
const wait = async (n) => {
  while (Number(document.body.dataset.ready || 0) < n) await new Promise((r) => setTimeout(r, 5));
};
(async () => {
  const out = {}, $ = (id) => document.getElementById(id);
  const change = (id, value, kind) => { $(id).value = value; $(id).dispatchEvent(new Event(kind || "input", { bubbles: true })); };
  const cells = () => Object.fromEntries([...document.querySelectorAll("[data-cell]")].map((c) =>
    [c.dataset.cell, c.dataset.value === "null" ? null : Number(c.dataset.value)]));
  const videos = () => [...document.querySelectorAll("[data-id]")].map((v) => v.dataset.id);
  const tracks = (id) => [...document.querySelectorAll(`[data-id="${id}"] [role=img]`)].map((t) => t.getAttribute("aria-label"));
  await wait(1);
  out.own = cells(); out.tracks = tracks("video0");
  change("segment", 61); change("audio", 22); change("visual", 47);
  await wait(2);
  out.moved = cells(); out.unchecked = !$("own").checked; out.shown = $("segment-shown").textContent;
  out.movedTracks = tracks("video0");
  $("own").checked = true; $("own").dispatchEvent(new Event("change"));
  await wait(3);
  out.back = cells(); out.all = videos();
  change("sort", "gain"); out.gain = videos();
  change("sort", "loss"); out.loss = videos();
  change("search", "VIDEO3"); out.found = videos(); out.count = $("count").textContent;
  change("search", "car"); out.withCar = videos();
  out.focusable = ["own", "segment", "audio", "visual", "search", "sort", "treated", "control"].every((id) => {
    $(id).focus(); return document.activeElement === $(id); });
  document.body.replaceChildren(Object.assign(document.createElement("pre"), { id: "out", textContent: JSON.stringify(out) }));
})().catch((e) => { document.body.textContent = "FAILED " + e.stack; });
