// The parts that the reports of all tasks share.
const clear = (id) => { at(id).replaceChildren(); return at(id); };
const plain = (value, digits = 4) => value === null || value === undefined ? "–" : String(Number(value.toPrecision(digits)));
const signed = (value, words = plain) => (value < 0 ? "−" : "+") + words(Math.abs(value));
let split;

function said(all, labels) {
  // the labels of a clip that were found, wrong and missed: all holds [label, probability, present, predicted]
  const some = (title, className, of) => {
    const text = of.map(([label, probability]) => `${labels[label]} ${share(probability, 3)}`).join(", ");
    return of.length ? [make("p", {}, `${title}: `, make("span", { className, textContent: text }))] : [];
  };
  return [...some("found", "", all.filter((one) => one[2] && one[3])), ...some("false alarm", "wrong", all.filter((one) => !one[2])),
    ...some("missed", "wrong", all.filter((one) => one[2] && !one[3]))];
}
function navigation() {
  for (const head of document.querySelectorAll("h2[id]"))
    document.querySelector("nav").append(make("a", { href: `#${head.id}`, textContent: head.textContent }));
}
function figureCard(name, value, text, { interval, trivial, most = 1, words = share } = {}) {
  // the bar is from 0 to `most`; `trivial` is the score of a model that ignores the audio
  const box = make("div", { className: "card" }, make("span", { textContent: name }), make("strong", { textContent: value }));
  if (interval) {
    const [low, high] = interval.map((end) => 100 * end / most), svg = drawn("svg", { viewBox: "0 0 100 10",
      preserveAspectRatio: "none", role: "img", "aria-label": `95 % interval ${words(interval[0])} to ${words(interval[1])}` });
    svg.append(drawn("line", { class: "axis", x1: 0, x2: 100, y1: 5, y2: 5 }),
      drawn("rect", { class: "interval", x: low, width: Math.max(high - low, .6), y: 2, height: 6 }),
      drawn("line", { class: "trivial", x1: 100 * trivial / most, x2: 100 * trivial / most, y1: 0, y2: 10 }));
    box.append(svg, ends(0, plain(most)));
  }
  for (const line of text) box.append(make("p", { className: "soft", textContent: line }));
  // metrics with a baseline are in the first row, the others in the second
  at("cards").children[trivial === undefined ? 1 : 0].append(box);
}
const sortedBy = {};  // by table: the key it is sorted by, and whether in descending order
function sortable(id, columns, rows, cells, first, scale = "") {
  // columns: [[heading, key of a row], ...], texts left and numbers right; cells(row): the cells of a row;
  // scale: the heading of the bars in the last column
  const table = clear(id), [key, falling] = sortedBy[id] ??= first;
  const sorted = [...rows].sort((a, b) => {
    const way = typeof a[key] === "string" ? a[key].localeCompare(b[key]) : (a[key] ?? -1) - (b[key] ?? -1);
    return falling ? -way : way;
  });
  const again = (to) => {
    sortedBy[id] = [to, to === key && !falling];
    sortable(id, columns, rows, cells, first, scale);
    at(id).querySelectorAll("th button")[columns.findIndex(([, one]) => one === to)].focus();
  };
  table.append(make("thead", {}, make("tr", {}, ...columns.map(([text, to]) => {
    const button = make("button", { textContent: text, onclick: () => again(to) });
    const head = make("th", { scope: "col", className: typeof rows[0]?.[to] === "string" ? "" : "n" }, button);
    if (to === key) head.ariaSort = falling ? "descending" : "ascending";
    return head;
  }), make("td", {}, scale))), make("tbody", {}, ...sorted.map((one) => row(cells(one)))));
}
const unit = (name) => linear(name, 0, 1, { most: 5 });  // an axis of probabilities and fractions
function chart(title, curves, text, x, y, { ideal, mark } = {}) {
  // curves: [{name, points: [[x, y], ...]}]; x, y: an axis, or the name of one that holds all points; `ideal`: a dotted
  // line from a point to another; `mark`: a point that stands out
  const points = curves.flatMap((curve) => curve.points);
  const axis = (of, i) => typeof of !== "string" ? of
    : linear(of, Math.min(...points.map((point) => point[i])), Math.max(...points.map((point) => point[i])));
  const { svg, X, Y } = axes(text, axis(x, 0), axis(y, 1));
  if (ideal) svg.append(drawn("line", { class: "ideal", x1: X(ideal[0][0]), y1: Y(ideal[0][1]), x2: X(ideal[1][0]), y2: Y(ideal[1][1]) }));
  curves.forEach((curve, i) => {
    svg.append(drawn("polyline", { class: `line${i}`, points: curve.points.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" ") }));
    for (const [x, , low, high] of curve.points) if (low !== undefined)
      svg.append(drawn("line", { class: "whisker", x1: X(x), x2: X(x), y1: Y(low), y2: Y(high) }));
    if (curve.points.length < 40) for (const [x, y] of curve.points) svg.append(drawn("circle", { class: "dot", cx: X(x), cy: Y(y), r: 2.2 }));
  });
  if (mark) svg.append(drawn("circle", { class: "mark", cx: X(mark[0]), cy: Y(mark[1]), r: 5 }));
  const keys = curves.length > 1 ? curves.map((curve, i) => make("span", { className: `key${i} soft`, textContent: `${curve.name} ` })) : [];
  return make("figure", {}, make("figcaption", { textContent: title }), ...keys, svg);
}
function reliabilityChart(title, points, of) {
  // of: what is counted at a probability, such as "right"
  const text = points.map((p) => `probability ${share(p.probability, 2)}: ${of} in ${share(p.accuracy, 2)} of ${counted(p.clips, "clip")}`).join("; ");
  return chart(title, [{ name: of, points: points.map((p) => [p.probability, p.accuracy, p.low, p.high]) }], text,
    unit("probability"), unit(`fraction ${of}`), { ideal: [[0, 0], [1, 1]] });
}
function reliabilityTable(points, of, what) {
  const table = make("table", {}, make("thead", {}, row([{ n: "probability" }, { n: of }, { n: "95 %" }, { n: what }], "th")));
  table.append(make("tbody", {}, ...points.map((p) => row([{ n: share(p.probability, 3) }, { n: share(p.accuracy, 3) },
    { n: `${share(p.low, 2)} to ${share(p.high, 2)}` }, p.clips]))));
  return make("div", { className: "scroll" }, table);
}
function probabilityBars(title, counts, of = "clip") {
  // counts: of 20 equal bins of the probability
  const sure = counts.slice(18).reduce((a, b) => a + b, 0), total = counts.reduce((a, b) => a + b, 0);
  return histogram(`${title}: ${number(total)}`, counts, 0, 1,
    { name: "probability", of, text: `${number(sure)} of them with a probability of 0.9 or more` });
}
function parts(key, heading, all, { worst = "lowest", most = 1, words = (value) => share(value) } = {}) {
  // key: name of the metric in each row of a column; all: its value for the whole split
  const box = clear("parts"), place = (value) => 100 * Math.min(value / most, 1);
  for (const note of split.notes) box.append(make("p", { className: "soft", textContent: note }));
  if (!split.slices.length) box.append(make("p", { textContent: "No column divides these clips into groups." }));
  for (const column of split.slices) {
    const some = column.values > column.rows.length;
    const lines = column.rows.map((part) => {
      const known = part.low !== null, range = known ? `${words(part.low, 3)} to ${words(part.high, 3)}` : "–";
      const spread = make("span", { className: "spread", role: "img", ariaLabel: range },
        ...(known ? [make("i", { style: `left: ${place(part.low)}%; right: ${100 - place(part.high)}%` })] : []),
        make("b", { style: `left: ${.99 * place(part[key])}%` }), make("u", { style: `left: ${.99 * place(all)}%` }));
      const line = row([part.value, part.clips, { n: words(part[key]) }, { n: range }, spread]);
      if (part.differs) line.className = "differs";
      return line;
    });
    box.append(make("h3", { textContent: `By ${column.name}` + (some ? ` (the ${column.rows.length} ${worst} of ${number(column.values)})` : "") }),
      make("div", { className: "scroll" }, make("table", {}, make("thead", {}, row([column.name, { n: "clips" }, { n: heading },
        { n: "95 %" }, ends(0, plain(most))], "th")), make("tbody", {}, ...lines))));
  }
}
function begin(draw) {
  // draws the facts of the run, then the first split; draw() draws the split in `split`
  const show = (name) => {
    split = data.splits[name];
    for (const one of at("splits").querySelectorAll("button")) one.ariaPressed = String(one.dataset.name === name);
    const over = split.figures.intervals_over;
    at("over").textContent = over.endsWith("groups") ? over
      : `${over}; clips of one speaker or recording are not independent, so the true interval may be wider`;
    clear("cards").append(...[1, 2].map(() => make("div", { className: "cards" })));
    draw();
    reach();
  };
  document.title = `Report of ${data.title}`;
  at("title").textContent = data.title;
  at("about").textContent = [...Object.entries(data.model).map(([name, value]) => `${name} ${value}`), data.written].join(" · ");
  for (const text of data.warnings) at("warnings").append(make("p", { textContent: text }));
  const names = Object.keys(data.splits);
  for (const name of names) {
    const button = make("button", { textContent: `${name}: ${counted(data.splits[name].figures.num_clips, "clip")}` });
    button.dataset.name = name;
    button.addEventListener("click", () => show(name));
    at("splits").append(button);
  }
  const last = Math.max(...data.curves.flatMap((curve) => curve.curves.map((one) => one.points.at(-1)[0])));
  for (const curve of data.curves) {
    const epochs = linear("epoch", 0, last, { exact: true });
    const text = curve.curves.map((one) => `${one.name} from ${one.points[0][1]} to ${one.points.at(-1)[1]}`).join("; ");
    at("curves").append(chart(curve.title, curve.curves, text, epochs, curve.axis));
  }
  if (!data.curves.length) at("curves").append(make("p", { textContent: "No curves: training logged no values, or only one." }));
  for (const [title, facts] of [["Settings", data.settings], ["Environment", data.environment]]) {
    const list = make("dl");
    for (const [name, value] of Object.entries(facts)) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
    at("facts").append(make("details", {}, make("summary", { textContent: title }), list));
  }
  navigation();
  show(names[0]);
}
