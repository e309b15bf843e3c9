// The page of a server: sends a recording to the public API and shows its labels.

import { LANGUAGES } from "./words.js";
import { Picture, colourOf } from "./picture.js";

const TOP_K = 5;
const MOST_PIECES = 500; // rows for the values of a regression
const OF_FILE = new Set([413, 415, 422]); // errors about the recording itself
const SETTINGS = ["window_seconds", "hop_seconds", "threshold", "min_duration_s"];
const at = (id) => document.getElementById(id);

let language = navigator.language.startsWith("zh") ? "zh" : "en";
let current = null; // { name, blob, answer, missing: key of the text about what cannot be drawn }
let recorder = null;
let opening = false; // waiting for permission to use the microphone
let asked = 0; // request counter, so that late responses to earlier requests are ignored

const words = () => LANGUAGES[language];
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

const picture = new Picture(
  (seconds, all) => { at("clock").textContent = `${clock(seconds)} / ${clock(all)}`; },
  () => showPlaying(),
);

const isNumber = (answer) => !answer.has_classes;
const digits = (answer, score) => (isNumber(answer) ? `${Number(score.toPrecision(5))}` : score.toFixed(3));

// The segments; for a regression, the value in each window.
const heard = (answer) => (isNumber(answer)
  ? answer.windows.map(({ start_s, end_s, scores: [{ label, score }] }) => ({ start_s, end_s, label, score }))
  : answer.segments);

// The rows to show. For a regression, windows of long recordings are merged, with the mean of their values.
function pieces(answer) {
  const all = heard(answer);
  if (!isNumber(answer)) return all;
  const each = Math.ceil(all.length / MOST_PIECES);
  const made = [];
  for (let i = 0; i < all.length; i += each) {
    const some = all.slice(i, i + each);
    const score = some.reduce((sum, one) => sum + one.score, 0) / some.length;
    made.push({ ...some[0], end_s: some.at(-1).end_s, score });
  }
  const scores = made.map((one) => one.score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  for (const one of made) one.share = high > low ? (one.score - low) / (high - low) : 0.5;
  return made;
}

function showPlaying() {
  at("play").textContent = picture.isPlaying() ? words().pause : words().play;
}

function speak() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = words()[element.dataset.word];
  at("language").textContent = words().other;
  at("language").lang = language === "zh" ? "en" : "zh";
  if (recorder) at("record").textContent = words().stop;
  showPlaying();
  picture.describe(words());
  if (current?.answer) showAnswer();
}

function say(state, error = "") {
  at("state").textContent = state;
  at("error").textContent = error;
}

// Send a request. If the server needs a token, ask the user for it first.
async function post(path, body) {
  for (;;) {
    const token = sessionStorage.getItem("token");
    const headers = { "Content-Type": "application/octet-stream", ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(path, { method: "POST", body, headers });
    if (response.status !== 401) return response;
    const given = await askForToken();
    if (!given) return response;
    sessionStorage.setItem("token", given);
  }
}

// The token, or nothing if the dialog is closed with Escape.
function askForToken() {
  const dialog = at("token-dialog");
  at("token").value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue && at("token").value), { once: true });
  });
}

async function analyse(name, blob) {
  const number = ++asked;
  current = { name, blob, answer: null, missing: null };
  at("result").hidden = true;
  picture.clear();
  at("picture").hidden = false; // a hidden element has no width to draw in
  say(words().busy(name));
  const query = new URLSearchParams({ top_k: TOP_K });
  for (const setting of SETTINGS) if (at(setting).value) query.set(setting, at(setting).value);
  let answer, refusal;
  try {
    const response = await post(`v1/timeline?${query}`, blob);
    answer = await response.json();
    if (!response.ok) refusal = OF_FILE.has(response.status) ? `${name}: ${answer.error}` : answer.error;
  } catch {
    refusal = words().unreachable;
  }
  if (number !== asked) return;
  at("again").disabled = false;
  if (refusal) {
    say("", refusal);
    return;
  }
  current.answer = answer;
  at("result").hidden = false;
  showAnswer();
  const { drawn, spectrogram } = await picture.draw(
    blob, pieces(answer), answer.duration_s, answer.recording_rate_hz);
  if (number !== asked) return;
  at("player").hidden = !drawn;
  at("picture").hidden = !drawn;
  picture.describe(words());
  current.missing = !drawn ? "noPicture" : spectrogram ? null : "longPicture";
  showMissing();
}

function showMissing() {
  at("no-picture").hidden = !current.missing;
  at("no-picture").textContent = current.missing ? words()[current.missing] : "";
  // segments that cannot be played are disabled
  for (const button of document.querySelectorAll(".segment")) button.disabled = current.missing === "noPicture";
}

function showAnswer() {
  const { name, answer } = current;
  const shown = pieces(answer);
  say(words()[isNumber(answer) ? "doneNumber" : "done"](answer.duration_s, heard(answer).length));
  at("result-title").textContent = name;
  at("waveform").setAttribute("aria-label", words().waveform(shown.length));
  at("bars").replaceChildren(...answer.scores.map(bar));
  const heading = at("segments-title");
  heading.dataset.word = isNumber(answer) ? "course" : "segments";
  heading.textContent = words()[heading.dataset.word];
  at("omitted").hidden = !answer.omitted_classes.length;
  at("omitted").textContent = words().omitted(answer.omitted_classes);
  at("range").hidden = !isNumber(answer);
  const scores = shown.map((one) => one.score);
  if (isNumber(answer)) at("range").textContent = words().range(...[Math.min(...scores), Math.max(...scores)].map((one) => digits(answer, one)));
  const rows = shown.map(segmentRow);
  at("segments").replaceChildren(...(rows.length ? rows : [element("li", words().none)]));
  showMissing();
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function bar({ label, score, below_threshold }) {
  const row = element("li", "", "bar");
  const meter = element("div", "", "meter");
  const filled = element("div", "", "filled");
  filled.style.width = `${100 * score}%`;
  filled.style.background = colourOf(label);
  meter.append(filled);
  meter.hidden = isNumber(current.answer); // a number is not a fraction
  row.append(element("span", below_threshold ? `${label} (${below_threshold}?)` : label, "label"), meter, element("span", digits(current.answer, score), "score"));
  return row;
}

function segmentRow({ start_s, end_s, label, score, share }) {
  const row = document.createElement("li");
  const button = element("button", "", "segment");
  button.type = "button";
  button.style.borderLeftColor = colourOf(label);
  const times = `${clock(start_s)} – ${clock(end_s)}`;
  const value = digits(current.answer, score);
  button.append(element("span", label, "label"), element("span", times), element("span", value, "score"));
  const hear = words()[isNumber(current.answer) ? "hearNumber" : "hear"];
  button.setAttribute("aria-label", hear(label, start_s.toFixed(1), end_s.toFixed(1), value));
  if (share !== undefined) { // fill in proportion to the value
    button.style.background = `linear-gradient(to right, ${colourOf(label, 0.25)} ${100 * share}%, transparent 0)`;
  }
  button.addEventListener("click", () => picture.play(start_s, end_s));
  row.append(button);
  return row;
}

const FORMULA = /^[=+\-@\t\r]/; // a spreadsheet would read such a label as a formula
const cell = (value) => {
  const text = FORMULA.test(value) ? `'${value}` : `${value}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

function csv() {
  const rows = heard(current.answer).map((one) => [
    cell(current.name), one.start_s.toFixed(3), one.end_s.toFixed(3), cell(one.label), one.score.toFixed(6),
  ]);
  return [["file", "start_s", "end_s", "label", "score"], ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
}

const audacity = () => heard(current.answer).map((one) => {
  const text = isNumber(current.answer) ? digits(current.answer, one.score) : one.label.replaceAll(/[\t\r\n]/g, " ");
  return `${one.start_s.toFixed(6)}\t${one.end_s.toFixed(6)}\t${text}\n`;
}).join("");

function download(text, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  link.download = `${current.name.replace(/\.[^.]*$/, "")}${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function record() {
  if (recorder) {
    recorder.stop();
    return;
  }
  if (opening) return; // a second click would open another microphone stream that is never closed
  opening = true;
  let stream;
  try {
    if (!navigator.mediaDevices) throw new Error(words().needsHttps);
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    say("", words().noMicrophone + error.message);
    return;
  } finally {
    opening = false;
  }
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  recorder.addEventListener("stop", () => {
    for (const track of stream.getTracks()) track.stop();
    const type = recorder.mimeType;
    recorder = null;
    at("record").setAttribute("aria-pressed", "false");
    at("record").textContent = words().record;
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    analyse(`${stamp}.${type.includes("mp4") ? "m4a" : "webm"}`, new Blob(pieces, { type }));
  });
  recorder.start();
  at("record").setAttribute("aria-pressed", "true");
  at("record").textContent = words().stop;
  say(words().recording);
}

at("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) analyse(file.name, file);
  event.target.value = ""; // so that the same file can be picked again
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) {
      const [file] = event.dataTransfer.files;
      analyse(file.name, file);
    }
  });
}
at("record").addEventListener("click", record);
at("again").addEventListener("click", () => analyse(current.name, current.blob));
at("play").addEventListener("click", () => picture.toggle());
at("csv").addEventListener("click", () => download(csv(), ".csv"));
at("audacity").addEventListener("click", () => download(audacity(), ".txt"));
at("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  speak();
});
speak();
