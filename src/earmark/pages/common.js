"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const number = (value) => value.toLocaleString("en");
const at = (id) => document.getElementById(id);
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}
function drawn(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
function bars(values, text) {
  const most = Math.max(...values, 1e-9), width = 100 / values.length;
  const svg = drawn("svg", { class: "bars", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img",
    "aria-label": text });
  values.forEach((value, i) => {
    const height = 100 * value / most;
    svg.append(drawn("rect", { x: i * width, y: 100 - height, width: width * .9, height }));
  });
  return svg;
}
function outline(values) {
  const svg = drawn("svg", { viewBox: `0 -1 ${values.length} 2`, preserveAspectRatio: "none", "aria-hidden": "true" });
  values.forEach((value, i) => {
    const high = Math.max(value, .01);
    svg.append(drawn("rect", { x: i, y: -high, width: .8, height: 2 * high }));
  });
  return svg;
}
function row(cells, tag = "td") {
  // numbers, and texts given as {n: ...}, stand at the right
  return make("tr", {}, ...cells.map((cell) => {
    const text = typeof cell === "number" ? number(cell) : cell.n ?? cell;
    const element = make(text === "" ? "td" : tag, { className: typeof cell === "number" || "n" in Object(cell) ? "n" : "" }, text);
    if (element.tagName === "TH") element.scope = "col";
    return element;
  }));
}
function reach() {
  // what is wider than the screen can be moved with the arrow keys, and is called by the heading above it
  let heading = "";
  for (const one of document.querySelectorAll("h1, h2, h3, .scroll")) {
    if (!one.classList.contains("scroll")) heading = one.textContent;
    else if (one.scrollWidth > one.clientWidth)
      for (const [name, value] of [["tabindex", 0], ["role", "region"], ["aria-label", heading]]) one.setAttribute(name, value);
    else for (const name of ["tabindex", "role", "aria-label"]) one.removeAttribute(name);
  }
}
addEventListener("load", reach);
addEventListener("resize", reach);
// one sound at a time: starting a player stops the others
document.addEventListener("play", (event) => {
  for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
}, true);
function player(clip) {
  return make("audio", { controls: true, preload: "metadata", src: clip.uri, ariaLabel: clip.path });
}
const share = (value, digits = 4) => value === null || value === undefined ? "–" : value.toFixed(digits);
function picture(clip) {
  const height = clip.bands ?? 48;
  const canvas = make("canvas", { width: clip.frames, height, ariaLabel: "spectrogram", role: "img" });
  const points = atob(clip.spectrogram), context = canvas.getContext("2d"), image = context.createImageData(clip.frames, height);
  for (let i = 0; i < points.length; i++) {
    const value = points.charCodeAt(i) / 255, place = 4 * ((height - 1 - Math.floor(i / clip.frames)) * clip.frames + i % clip.frames);
    // dark blue over teal to pale yellow, brighter with every step
    image.data.set([255 * value ** 2, 25 + 225 * value, 50 + 120 * Math.sin(Math.PI * value * .8), 255], place);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}
function answer(clip) {
  const [best, score] = clip.answers[0], lines = [make("p", { className: "asked" }, `${clip.label} → `, make("span",
    { className: best === clip.label ? "" : "wrong", textContent: `${best} ${share(score, 3)}` }))];
  const others = clip.answers.slice(1).map(([name, value]) => `${name} ${share(value, 3)}`).join(", ");
  if (others) lines.push(make("p", { className: "soft", textContent: `then ${others}` }));
  return lines;
}
function card(clip, lines = answer(clip)) {
  const box = make("div", { className: "clip" });
  if (clip.frames) box.append(picture(clip));
  if (clip.uri) box.append(player(clip));
  else box.append(make("p", { className: "soft", textContent: "(no sound: its file is not there, or it has none of its own)" }));
  box.append(...lines, make("p", { className: "soft", textContent: clip.path + (clip.whole ? "" : " (its beginning)") }));
  if (clip.trained_on) box.append(make("p", { className: "wrong", textContent: "The model was trained on this clip." }));
  return box;
}
