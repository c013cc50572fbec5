"use strict";
// The page of a run: frames come as events, everything that a run says is text.
const KEPT = 200, BAD = ["refused", "dead", "dropped", "failed"];
const $ = (id) => document.getElementById(id);
const frames = [];                       // the newest ones, oldest first
let shownKey = null, following = true, comparing = false, state = null, connected = false;

const source = new EventSource("events");
source.onmessage = (event) => {
  const told = JSON.parse(event.data);
  connected = true;
  if (told.anew) frames.length = 0;
  for (const frame of told.frames) {     // a frame comes again when more is known of it
    const known = frames.findIndex((each) => each.key === frame.key);
    if (known < 0) frames.push(frame); else frames[known] = frame;
  }
  frames.sort((a, b) => a.number - b.number);
  frames.splice(0, Math.max(0, frames.length - KEPT));
  state = told;
  if (following || at() < 0) shownKey = (newest() ?? frames.at(-1))?.key ?? null;
  draw(told.anew || told.frames.length > 0);
};
source.onerror = () => { connected = false; drawState(); };

// Of a frame that has only just come to a receiver there is nothing to see yet.
function newest() { return frames.findLast((frame) => frame.status !== "at rx"); }
function at() { return frames.findIndex((frame) => frame.key === shownKey); }
function show(index) {
  if (!frames.length) return;
  const place = Math.min(Math.max(index, 0), frames.length - 1);
  shownKey = frames[place].key;
  draw(false);
}
function follow(on) { following = on; if (on) shownKey = (newest() ?? frames.at(-1))?.key ?? null; draw(false); }
function step(by) { following = false; show(at() + by); }

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (name) made.className = name;
  return made;
}
function fixed(value, digits) { return value === null || value === undefined ? null : Number(value).toFixed(digits); }
function seconds(value) {
  if (!value) return null;               // what has not been done took no time
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${Number(value).toFixed(2)} s`;
}

function drawState() {
  const word = $("state");
  word.classList.toggle("lost", !connected || Boolean(state?.trouble));
  if (!connected) word.textContent = state ? "the server has ended; trying again" : "connecting";
  else if (state.trouble) word.textContent = state.trouble;
  else if (state.finished) word.textContent = "ended";
  else word.textContent = frames.length ? "going on" : "no frame yet";
}

function drawCounts() {
  const list = $("counts"), parts = [];
  const all = Object.values(state.counts).reduce((sum, count) => sum + count, 0);
  for (const [name, count] of Object.entries(state.counts).sort()) parts.push([count, name, BAD.includes(name)]);
  if (state.total) parts.push([`${all} of ${state.total}`, "frames", false]);
  if (state.waiting) parts.push([state.waiting, "on the way", false]);
  if (state.refused) parts.push([state.refused, "requests to this page refused", true]);
  list.replaceChildren(...parts.map(([count, name, bad]) => {
    const item = make("li", null, bad ? "bad" : "");
    item.append(make("b", count), ` ${name}`);
    return item;
  }));
}

function picture(frame, stage, size) {
  const version = stage === "refined" ? frame.seq : "early";  // of what may come again, and other
  const query = [size ? `size=${size}` : "", frame.status === "delivered" ? "" : `v=${version}`].filter(Boolean).join("&");
  return `picture/${encodeURIComponent(frame.key)}/${stage}${query ? `?${query}` : ""}`;
}

function drawPictures(frame) {
  for (const figure of document.querySelectorAll("#pictures figure")) {
    const stage = figure.dataset.stage, box = figure.querySelector(".frame"), image = figure.querySelector("img");
    const refined = frame.status === "refining" ? frame.reason : metrics(frame, "refined");
    const told = { sent: name(frame), preview: metrics(frame, "preview"), refined }[stage];
    figure.querySelector("figcaption").textContent = told ? `${stage}: ${told}` : stage;
    if (frame.width && frame.height) box.style.aspectRatio = `${frame.width} / ${frame.height}`;
    const address = picture(frame, stage), made = frame.pictures.includes(stage);
    if (made && image.getAttribute("src") === address) continue;
    if (box.dataset.key !== frame.key || !made) box.classList.remove("has");
    box.dataset.key = frame.key;         // a newer picture of the same frame takes the place of the older one
    box.querySelector(".absent").textContent = why(frame, stage, made);
    if (!made) { image.removeAttribute("src"); continue; }
    image.onload = () => box.classList.add("has");
    image.onerror = () => box.classList.remove("has");
    image.alt = `${stage} picture of ${name(frame) || "a frame"}`;
    image.src = address;
  }
}
function why(frame, stage, made) {
  if (made) return state.report ? "not in these folders" : "not here any more";
  if (frame.absent[stage]) return frame.absent[stage];
  return frame.status === "delivered" ? `no ${stage} picture was kept` : frame.status;
}
function name(frame) { return (frame.image ?? "").split("/").at(-1); }
function metrics(frame, stage) {
  const found = [];
  for (const [key, label, digits, unit] of [["psnr", "PSNR", 2, " dB"], ["ms_ssim", "MS-SSIM", 3, ""], ["lpips", "LPIPS", 3, ""]]) {
    const value = fixed(frame[`${key}_${stage}`], digits);
    if (value !== null) found.push(`${label} ${value}${unit}`);
  }
  const after = seconds(frame[`time_to_${stage}_s`]);
  if (after) found.push(`after ${after}`);
  return found.join(", ");
}

function drawFacts(frame) {
  $("caption").textContent = frame.caption ? `\u201c${frame.caption}\u201d` : "";
  $("caption").hidden = !frame.caption;
  const pairs = [
    ["status", frame.status === "delivered" ? null : `${frame.status}${frame.reason ? `: ${frame.reason}` : ""}`],
    ["channel", frame.channel], ["SNR", frame.snr_db === null ? null : `${fixed(frame.snr_db, 1)} dB`],
    ["received", frame.received_snr_db === null ? null : `${fixed(frame.received_snr_db, 1)} dB`],
    ["|h|\u00b2", fixed(frame.h_abs2, 3)], ["symbols", frame.k], ["ratio", frame.cbr],
    ["PAPR", frame.papr_db === null ? null : `${fixed(frame.papr_db, 1)} dB`], ["packets lost", frame.packets_lost || null],
    ["codec", frame.codec], ["model", frame.model], ["receiver", frame.receiver], ["steps", frame.steps],
    ["attempts", frame.attempts > 1 ? frame.attempts : null],
    ["encoder", seconds(frame.encode_s)], ["grant", seconds(frame.grant_wait_s)], ["queue", seconds(frame.rx_queue_s)],
    ["airtime", seconds(frame.airtime_observed_s)], ["at the channel", seconds(frame.channel_queue_s)],
    ["decoder", seconds(frame.decode_s)], ["diffusion", seconds(frame.diffusion_s)],
  ];
  $("facts").replaceChildren(...pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", value));
    return pair;
  }));
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
function short(value) {
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 1 || size === 0 ? value.toFixed(1) : value.toPrecision(2);
}
function drawSeries() {
  const W = 220, H = 84, left = 38, right = 6, top = 8, bottom = 8;
  for (const svg of document.querySelectorAll("#series svg")) {
    const keys = svg.dataset.keys.split(" "), figure = svg.closest("figure"), head = figure.querySelector("figcaption");
    const lines = keys.map((key) => frames.map((frame, i) => [i, frame[key]]).filter(([, value]) => typeof value === "number"));
    const values = lines.flat().map(([, value]) => value);
    // A ratio that never changes stands among the facts already.
    figure.hidden = !values.length || (svg.dataset.keys === "bandwidth_ratio" && new Set(values).size < 2);
    if (figure.hidden) continue;
    svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
    svg.setAttribute("preserveAspectRatio", "none");
    let low = Math.min(...values), high = Math.max(...values);
    if (high === low) { low -= Math.abs(low) / 10 || 1; high += Math.abs(high) / 10 || 1; }
    const x = (i) => left + (frames.length > 1 ? i / (frames.length - 1) : 0.5) * (W - left - right);
    const y = (value) => top + (1 - (value - low) / (high - low)) * (H - top - bottom);
    const drawn = [low, high].flatMap((value) => [
      shape("line", { class: "axis", x1: left, x2: W - right, y1: y(value), y2: y(value) }),
      shape("text", { x: left - 4, y: y(value) + 3, "text-anchor": "end" }, short(value)),
    ]);
    lines.forEach((line, k) => {
      if (line.length > 1) drawn.push(shape("polyline", { class: `k${k}`, points: line.map(([i, value]) => `${x(i)},${y(value)}`).join(" ") }));
      else if (line.length) drawn.push(shape("circle", { class: `k${k}`, cx: x(line[0][0]), cy: y(line[0][1]), r: 2.5 }));
    });
    const place = at();
    if (place >= 0) drawn.push(shape("line", { class: "now", x1: x(place), x2: x(place), y1: top, y2: H - bottom }));
    svg.replaceChildren(...drawn);
    head.dataset.head ??= head.textContent;
    const frame = frames[place], told = keys.map((key, k) => [key, k]).filter(([key]) => typeof frame?.[key] === "number");
    head.replaceChildren(make("span", head.dataset.head), ...told.map(([key, k]) => make("i", `${words(key)} ${short(frame[key])}`, `k${k}`)));
    svg.setAttribute("aria-label", `${head.dataset.head} of ${frames.length} frames, from ${short(low)} to ${short(high)}`);
  }
}
function words(key) {
  return { received_snr_db: "received", snr_db: "average", h_abs2: "", bandwidth_ratio: "" }[key] ?? (key.includes("preview") ? "preview" : "refined");
}

let airOf = null;                        // the frame whose symbols are drawn, or on their way
async function drawAir() {
  const open = $("symbols").getAttribute("aria-expanded") === "true";
  $("air").hidden = !open;
  if (!open || !shownKey || airOf === shownKey) return;
  const key = airOf = shownKey;
  $("air-told").textContent = "computing the symbols again";
  let told;
  try {
    const answer = await fetch(`symbols/${encodeURIComponent(key)}`);
    told = answer.ok ? await answer.json() : { why: "the server does not have this frame any more" };
  } catch { told = { why: "the server has ended" }; }
  if (airOf !== key) return;             // another frame is shown by now
  if (told.why) {
    $("air-told").textContent = `No symbols: ${told.why}.`;
    $("clouds").replaceChildren();
    return;
  }
  $("air-told").textContent = told.told;
  const all = Object.values(told.clouds).flat().map(([x, y]) => Math.hypot(x, y)).sort((a, b) => a - b);
  const reach = 1.25 * (all[Math.floor(all.length * 0.99)] || 1);
  const clouds = Object.entries(told.clouds).map(([name, points]) => {
    const svg = shape("svg", { viewBox: `${-reach} ${-reach} ${2 * reach} ${2 * reach}`, role: "img", "aria-label": `${name}: ${points.length} symbols` });
    svg.append(shape("circle", { class: "unit", cx: 0, cy: 0, r: 1, "stroke-width": reach / 120 }));
    for (const [x, y] of points) svg.append(shape("circle", { class: "point", cx: x, cy: -y, r: reach / 90 }));
    return titled(name, svg);
  });
  const levels = told.levels.map(({ title, db, ticks, unit }) => {
    const low = Math.min(...db), high = Math.max(...db), step = 200 / Math.max(1, db.length - 1);
    const svg = shape("svg", { class: "levels", viewBox: "-2 -4 204 108", role: "img", "aria-label": `${title} over ${unit}, ${short(low)} to ${short(high)}` });
    svg.append(shape("polyline", { points: db.map((value, i) => `${i * step},${high > low ? 100 * (high - value) / (high - low) : 50}`).join(" "), "stroke-width": 1.2 }));
    return titled(`${title}: ${short(low)} to ${short(high)}, over ${unit} ${ticks.filter(Boolean).join(" to ")}`, svg);
  });
  $("clouds").replaceChildren(...clouds, ...levels);
}
function titled(text, svg) {
  const figure = make("figure");
  figure.append(svg, make("figcaption", text));
  return figure;
}
function symbols() {
  const button = $("symbols"), open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", open);
  airOf = null;
  drawAir();
}

function drawStrip(anew) {
  const strip = $("strip");
  if (anew) {
    const known = new Map([...strip.children].map((item) => [item.dataset.seq, item]));
    strip.replaceChildren(...frames.map((frame) => known.get(String(frame.seq)) ?? thumbnail(frame)));
  }
  for (const item of strip.children) {
    const button = item.firstChild, here = item.dataset.key === shownKey;
    if (here) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    if (here) strip.scrollLeft = item.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + 32;
  }
}
function thumbnail(frame) {
  const item = make("li"), button = make("button");
  const word = () => button.replaceChildren(frame.status === "delivered" ? "" : frame.status);
  item.dataset.key = frame.key;
  item.dataset.seq = frame.seq;
  button.setAttribute("aria-label", `frame ${frame.number}: ${name(frame)} ${frame.status}`);
  button.onclick = () => { following = false; shownKey = frame.key; draw(false); };
  const stage = frame.pictures.at(-1);    // the best one that there is
  if (stage && stage !== "sent") {
    const image = make("img");
    image.loading = "lazy"; image.alt = "";
    image.onerror = word;
    image.src = picture(frame, stage, "small");
    button.append(image);
  } else word();
  item.append(button);
  return item;
}

function draw(anew) {
  if (!state) return;
  document.title = $("title").textContent = state.title || "diffjscc watch";
  drawState(); drawCounts();
  for (const link of document.querySelectorAll(".report")) link.hidden = !state.report;
  const place = at(), frame = frames[place];
  $("follow").setAttribute("aria-pressed", following);
  $("follow").textContent = following ? "following" : "staying";
  $("compare").setAttribute("aria-pressed", comparing);
  $("first").disabled = $("back").disabled = place <= 0;
  $("last").disabled = $("on").disabled = place < 0 || place === frames.length - 1;
  $("pictures").className = comparing ? "over" : "side";
  $("slider").hidden = !comparing;
  cut();
  if (frame) {
    $("where").textContent = `frame ${frame.number}, ${place + 1} of the newest ${frames.length}`;
    drawPictures(frame); drawFacts(frame);
  }
  drawSeries(); drawAir(); drawStrip(anew);
  $("says").replaceChildren(...Object.entries(state.says).map(([name, line]) => {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", line));
    return pair;
  }));
}
function cut() {
  const share = Number($("slider").querySelector("input").value);
  const refined = document.querySelector('#pictures figure[data-stage="refined"]');
  refined.style.clipPath = comparing ? `inset(0 0 0 ${100 - share}%)` : "";
}
function compare() { comparing = !comparing; draw(false); }

$("follow").onclick = () => follow(!following);
$("first").onclick = () => step(-KEPT);
$("back").onclick = () => step(-1);
$("on").onclick = () => step(1);
$("last").onclick = () => step(KEPT);
$("compare").onclick = compare;
$("symbols").onclick = symbols;
$("slider").querySelector("input").oninput = cut;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "INPUT") return;
  const act = {
    ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => step(-KEPT), End: () => step(KEPT), c: compare, s: symbols,
    " ": event.target.tagName === "BUTTON" ? null : () => follow(!following),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
});
