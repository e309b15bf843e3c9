const data = JSON.parse(document.getElementById("data").textContent);
const number = (value) => value.toLocaleString("en");
const at = (id) => document.getElementById(id);
function row(cells, tag = "td") {
  // numbers, and texts given as {n: ...}, are aligned right
  return make("tr", {}, ...cells.map((cell) => {
    const text = typeof cell === "number" ? number(cell) : cell.n ?? cell;
    const element = make(text === "" ? "td" : tag, { className: typeof cell === "number" || "n" in Object(cell) ? "n" : "" }, text);
    if (element.tagName === "TH") element.scope = "col";
    return element;
  }));
}
function reach() {
  // Elements wider than the screen scroll with the arrow keys; their accessible name is the heading above them.
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
function predictionLines(clip) {
  const [best, score] = clip.predictions[0], lines = [make("p", { className: "asked" }, `${clip.label} → `, make("span",
    { className: best === clip.label ? "" : "wrong", textContent: `${best} ${share(score, 3)}` }))];
  const others = clip.predictions.slice(1).map(([name, value]) => `${name} ${share(value, 3)}`).join(", ");
  if (others) lines.push(make("p", { className: "soft", textContent: `then ${others}` }));
  return lines;
}
function card(clip, lines = predictionLines(clip)) {
  const box = make("div", { className: "clip" });
  if (clip.spectrogram) box.append(spectrogram(clip.spectrogram, { name: clip.path }));
  if (clip.uri) box.append(player(clip));
  else box.append(make("p", { className: "soft", textContent: "(no audio: the file is missing or cannot be read)" }));
  box.append(...lines, make("p", { className: "soft", textContent: clip.path + (clip.whole ? "" : " (first seconds only)") }));
  if (clip.trained_on) box.append(make("p", { className: "wrong", textContent: "The model was trained on this clip." }));
  return box;
}
