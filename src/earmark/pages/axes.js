"use strict";
// Axes with round ticks, histograms and spectrograms, for the pages that are one file and for the page of the server.
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
const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;

// An axis is { name, low, high, at, ticks }: at(value) is from 0 to 1 between low and high, ticks are [value, text].
function roundStep(span, most) {
  // Returns the smallest of 1, 2 and 5 times a power of ten that divides a span into at most `most` steps.
  const power = 10 ** Math.floor(Math.log10(span / most));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => span / step <= most * (1 + 1e-9));
}
function tickText(value, step) {
  const digits = Math.floor(Math.log10(step) + 1e-9), size = Math.abs(value);
  if (size < step / 1e6) return "0";
  const text = digits < -4 || size >= 1e6
    ? value.toExponential(Math.max(0, Math.floor(Math.log10(size) + 1e-9) - digits)).replace("e+", "e")
    : value.toLocaleString("en", { minimumFractionDigits: Math.max(0, -digits), maximumFractionDigits: Math.max(0, -digits) });
  return text.replace("-", "−");
}
function roundTicks(low, high, step, text = tickText) {
  const first = Math.ceil(low / step - 1e-6), last = Math.floor(high / step + 1e-6);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => [(first + i) * step, text((first + i) * step, step)]);
}
function linear(name, low, high, { most = 5, exact = false, whole = false } = {}) {
  // exact: the axis ends at low and high, else at the round values around them; whole: ticks are whole numbers
  if (low === high) [low, high] = [low - (.5 * Math.abs(low) || .5), high + (.5 * Math.abs(high) || .5)];
  const step = Math.max(roundStep(high - low, most), whole ? 1 : 0);
  if (!exact) [low, high] = [step * Math.floor(low / step + 1e-6), step * Math.ceil(high / step - 1e-6)];
  return { name, low, high, at: (value) => (value - low) / (high - low), ticks: roundTicks(low, high, step) };
}
const CLOCK_STEPS_S = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000];
function times(seconds, { most = 5, name = "time" } = {}) {
  // time from 0: in seconds, or in minutes and seconds if it is longer than two minutes
  const axis = linear(`${name} (s)`, 0, Math.max(seconds, 1e-3), { most, exact: true });
  if (seconds <= 120) return axis;
  const step = CLOCK_STEPS_S.find((one) => seconds / one <= most) ?? 36000 * Math.ceil(seconds / most / 36000);
  const clock = (value) => `${Math.floor(value / 60)}:${String(Math.round(value % 60)).padStart(2, "0")}`;
  return { ...axis, name: `${name} (min:s)`, ticks: roundTicks(0, seconds, step, clock) };
}
const PITCH = { log: Math.log, mel: (hz) => Math.log1p(hz / 700) };
function frequencies(low, high, scale, { gap = .12, name = "frequency" } = {}) {
  // ticks at 1, 2 and 5 times powers of ten, powers of ten first, at least `gap` of the axis apart
  const pitch = PITCH[scale], at = (hz) => (pitch(hz) - pitch(low)) / (pitch(high) - pitch(low)), ticks = [];
  for (const times of [[1000, 100, 10000, 10], [500, 2000, 5000, 200, 20000, 50, 20, 50000]].flat())
    if (times >= low && times <= high && ticks.every(([other]) => Math.abs(at(other) - at(times)) >= gap))
      ticks.push([times, times < 1000 ? `${times}` : `${times / 1000}k`]);
  return { name: `${name} (Hz)`, low, high, at, ticks };
}

// Axes around an element on a page. Their texts keep their size at any width of the element.
function setAxes(frame, { x, y, colours }) {
  for (const old of frame.querySelectorAll(":scope > .axis")) old.remove();
  const sides = { x: [x, "left"], y: [y, "bottom"], colours: [colours, "bottom"] };
  for (const [side, [axis, edge]] of Object.entries(sides)) {
    if (!axis) continue;
    const box = make("div", { className: `axis ${side}`, ariaHidden: "true" });
    if (side === "colours") box.append(make("b", { style: `background: linear-gradient(to top, ${colourStops()})` }));
    for (const [value, text] of axis.ticks) {
      const tick = make("i", { textContent: text });
      tick.style[edge] = `${(100 * axis.at(value)).toFixed(2)}%`;
      box.append(tick);
    }
    box.append(make("span", { textContent: axis.name }));
    frame.append(box);
  }
}
function framed(plot, axes) {
  plot.classList.add("plot");
  const frame = make("div", { className: axes.colours ? "framed coloured" : "framed" }, plot);
  setAxes(frame, axes);
  return frame;
}

// dark blue over teal to pale yellow, brighter with every step: red, green and blue from 0 to 255, of a value from 0 to 1
const colour = (value) => [255 * value ** 2, 25 + 225 * value, 50 + 120 * Math.sin(Math.PI * value * .8)].map(Math.round);
const colourStops = () => Array.from({ length: 17 }, (_, i) => `rgb(${colour(i / 16).join(" ")})`).join(", ");
function spectrogram(of, { name = "", most = 4, gap = .12 } = {}) {
  // of: Spectrogram.to_dict() of earmark/audio/excerpts.py
  const { frames, bands, seconds, low_hz, high_hz, scale, range_db } = of;
  const hertz = (value) => Math.round(value).toLocaleString("en");
  const label = `spectrogram${name && ` of ${name}`}: time from 0 to ${Number(seconds.toPrecision(3))} s, frequency from ${hertz(low_hz)} to `
    + `${hertz(high_hz)} Hz (${scale === "mel" ? "mel" : "logarithmic"} scale), colour from −${range_db} to 0 dB (${of.loudest})`;
  const canvas = make("canvas", { width: frames, height: bands, ariaLabel: label, role: "img", title: label });
  const points = atob(of.points), context = canvas.getContext("2d"), image = context.createImageData(frames, bands);
  for (let i = 0; i < points.length; i++)
    image.data.set([...colour(points.charCodeAt(i) / 255), 255], 4 * ((bands - 1 - Math.floor(i / frames)) * frames + i % frames));
  context.putImageData(image, 0, 0);
  return framed(canvas, { x: times(seconds, { most }), y: frequencies(low_hz, high_hz, scale, { gap }),
    colours: linear("dB, 0 = loudest", -range_db, 0, { most: 4, exact: true }) });
}
function outline(values, seconds) {
  // values: the peak of each of many equal parts of a recording
  const svg = drawn("svg", { viewBox: `0 -1 ${values.length} 2`, preserveAspectRatio: "none", role: "img",
    "aria-label": `waveform: time from 0 to ${Number(seconds.toPrecision(3))} s, largest amplitude ${Math.max(...values)} of full scale` });
  values.forEach((value, i) => {
    const high = Math.max(value, .01);
    svg.append(drawn("rect", { x: i, y: -high, width: .8, height: 2 * high }));
  });
  return framed(svg, { x: times(seconds, { most: 4 }), y: linear("amplitude", -1, 1, { most: 2 }) });
}

// Makes a chart as SVG, and returns it with the functions that turn values into positions.
function axes(text, x, y, { className = "curve", width = 300, height = 180 } = {}) {
  const [left, right, top, bottom] = [54, 12, 10, 36];
  const X = (value) => left + (width - left - right) * x.at(value), Y = (value) => height - bottom - (height - top - bottom) * y.at(value);
  const svg = drawn("svg", { class: className, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": text });
  const write = (words, attributes) => svg.append(drawn("text", attributes, words));
  for (const [value, tick] of y.ticks) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: Y(value), y2: Y(value) }));
    write(tick, { class: "y", x: left - 5, y: Y(value) + 3.5, "text-anchor": "end" });
  }
  for (const [value, tick] of x.ticks) {
    svg.append(drawn("line", { class: "grid", x1: X(value), x2: X(value), y1: height - bottom, y2: height - bottom + 4 }));
    write(tick, { class: "x", x: X(value), y: height - bottom + 15, "text-anchor": "middle" });
  }
  write(x.name, { class: "name", x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" });
  write(y.name, { class: "name", "text-anchor": "middle", transform: `translate(11 ${(top + height - bottom) / 2}) rotate(-90)` });
  return { svg, X, Y };
}
function histogram(title, counts, low, high, { name, of = "clip", text = "" }) {
  // counts: one for each of the equal parts of the range from low to high; name: name and unit of the x axis
  const total = counts.reduce((sum, one) => sum + one, 0), width = (high - low) / counts.length;
  const x = linear(name, low, high, { exact: true }), y = linear(`${of}s`, 0, Math.max(1, ...counts), { most: 4, whole: true });
  const round = roundStep(width, 1), step = Math.abs(round - width) < 1e-6 * width ? round : roundStep(width, 10);
  const place = (value) => tickText(value, step);
  const label = `${title}: ${counted(total, of)}, ${name} from ${place(low)} to ${place(high)}${text && `; ${text}`}`;
  const { svg, X, Y } = axes(label, x, y, { className: "curve histogram" });
  counts.forEach((count, i) => {
    const from = low + i * width, bar = drawn("rect", { x: X(from), width: .9 * (X(low + width) - X(low)), y: Y(count), height: Y(0) - Y(count) });
    bar.append(drawn("title", {}, `${place(from)} to ${place(from + width)}: ${counted(count, of)}`));
    svg.append(bar);
  });
  return make("figure", {}, make("figcaption", { textContent: title }), svg);
}
// The values at both ends of the bars in a column, for its heading.
const ends = (low, high) => make("span", { className: "ends" }, make("span", { textContent: low }), make("span", { textContent: high }));
