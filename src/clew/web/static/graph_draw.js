// Edges on two canvases (all of them below, those of one node or path above), nodes as SVG.

const plot = document.getElementById("plot");
const marks = document.getElementById("marks");
const base = document.getElementById("base");
const lit = document.getElementById("lit");
const SVG = marks.namespaceURI;
const field = document.getElementById("field"); // every mark
const front = document.getElementById("front"); // copies of those that are lit, while the others fade as one

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function ready(canvas) {
  const scale = Math.min(window.devicePixelRatio || 1, Math.sqrt(32e6 / Math.max(1, view.width * view.height)));
  const size = [Math.round(view.width * scale), Math.round(view.height * scale)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  pen.lineCap = "butt";
  return pen;
}

function trace(pen, edge) {
  const y1 = edge.from.y - (edge.from.kind === "token" ? 7 : edge.from.r * 0.6);
  const y2 = edge.to.y + (edge.to.kind === "target" ? 13 : edge.to.r * 0.6);
  const bend = (y1 - y2) * 0.5;
  pen.moveTo(edge.from.x, y1);
  pen.bezierCurveTo(edge.from.x, y1 - bend, edge.to.x, y2 + bend, edge.to.x, y2);
}

// One stroke for all edges of a sign, a width and a strength: thousands of edges cost some dozens of calls.
// An edge is as wide as its share of the target's input, and as clear as its target is influential.
function drawEdges(pen, list, strength, fade = true) {
  const style = getComputedStyle(document.documentElement);
  const groups = new Map();
  for (const edge of list) {
    const level = Math.min(7, Math.floor(8 * Math.sqrt(Math.min(1, Math.abs(edge.share)))));
    const clear = fade && edge.to.kind !== "target" ? Math.min(3, Math.ceil(3 * Math.sqrt(edge.to.influence / strongest))) : 3;
    const key = `${edge.weight < 0 ? "minus" : "plus"},${level},${clear}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(edge);
  }
  const ordered = [...groups].sort((a, b) => Number(a[0].split(",")[1]) - Number(b[0].split(",")[1]));
  for (const [key, group] of ordered) {
    const [sign, level, clear] = key.split(",");
    pen.strokeStyle = style.getPropertyValue(`--${sign}`);
    pen.lineWidth = 0.7 + 0.13 * view.scale * Number(level) ** 2;
    pen.globalAlpha = Math.min(1, strength * (0.22 + 0.11 * Number(level)) * [0.3, 0.5, 0.75, 1][clear]);
    pen.setLineDash(sign === "minus" ? [5 + pen.lineWidth, 4 + 0.6 * pen.lineWidth] : []);
    pen.beginPath();
    for (const edge of group) trace(pen, edge);
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

// The strongest edges at once, the others beneath them in slices, so that the page never waits.
let drawing = 0;
function drawBase() {
  cancelAnimationFrame(drawing);
  const list = edges.filter((edge) => edge.held <= state.edgeShare + 1e-9 && edge.from.seen && edge.to.seen);
  const strength = list.length > 3000 ? 0.4 : list.length > 800 ? 0.65 : 0.9;
  const pen = ready(base);
  let done = 0;
  let slice = 600;
  const more = () => {
    const start = performance.now();
    pen.globalCompositeOperation = "destination-over";
    drawEdges(pen, list.slice(done, done + slice), strength);
    pen.getImageData(0, 0, 1, 1); // waits for the strokes, so that the next slice fits the time they took
    done += slice;
    slice = Math.max(60, Math.min(2000, Math.round((slice * 14) / Math.max(1, performance.now() - start))));
    if (done < list.length) drawing = requestAnimationFrame(more);
    else document.documentElement.dataset.edges = String(list.length);
  };
  more();
  return list.length;
}

function shapeOf(node) {
  if (node.kind === "feature") return draw("circle", { class: `shape feature${node.label ? " named" : ""}`, cx: node.x, cy: node.y, r: node.r });
  if (node.kind === "token") return draw("rect", { class: "shape token", x: node.x - 6.5, y: node.y - 6.5, width: 13, height: 13, rx: 3.5 });
  const r = node.r + 1;
  return draw("path", { class: "shape error", d: `M${node.x} ${node.y - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z` });
}

function outputShape(node) {
  const [left, top, wide] = [node.x - node.boxWidth / 2, node.y - 13, node.boxWidth];
  const filled = Math.max(3, wide * Math.min(1, chance(node)));
  const name = draw("text", { class: "name", x: left + 9, y: node.y + 4.5 });
  name.textContent = shownText(node.label);
  const share = draw("text", { class: "share", x: left + wide - 9, y: node.y + 4.5, "text-anchor": "end" });
  share.textContent = percent(chance(node));
  return [
    draw("rect", { class: "shape box", x: left, y: top, width: wide, height: 26, rx: 7 }),
    draw("rect", { class: "fill", x: left, y: top, width: filled, height: 26, rx: 7 }), name, share,
  ];
}

function drawMarks() {
  field.replaceChildren();
  front.replaceChildren();
  marks.setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
  for (const node of [...inner, ...tokens, ...outputs]) {
    node.mark = null;
    if (!node.seen) continue;
    const shapes = node.kind === "target" ? outputShape(node) : [shapeOf(node)];
    const kind = node.kind === "target" ? " output" : "";
    node.mark = draw("g", { class: `node${kind}`, id: `node-${node.index}`, role: "option", "aria-selected": "false", "aria-label": spoken(node) }, ...shapes);
    field.append(node.mark);
  }
  for (const tag of view.tags) {
    tag.mark = draw("text", { class: "name-tag", x: tag.x, y: tag.y, "aria-hidden": "true" });
    tag.mark.textContent = tag.text;
    field.append(tag.mark);
  }
}

function drawFrame() {
  const axis = document.getElementById("axis");
  const bands = document.getElementById("bands");
  const chips = document.getElementById("chips");
  plot.style.width = `${view.width}px`;
  plot.style.height = axis.style.height = `${view.height}px`;
  chips.style.width = `${view.width}px`;
  const every = data.layers > 16 ? 2 : 1;
  const names = view.rows.map((_, row) => (row === 0 ? "Emb" : row === data.layers + 1 ? "Output" : (row - 1) % every ? "" : `L${row - 1}`));
  axis.replaceChildren(...view.rows.map((row, i) => at(make("span", { text: names[i] }), { top: row.middle })));
  bands.replaceChildren(
    ...view.columns.map((column, i) => at(make("i", { class: i < data.first ? "out" : i % 2 ? "odd" : "" }), { left: column.left, width: column.width })),
    ...view.rows.map((row) => at(make("b"), { top: row.top })),
  );
  chips.replaceChildren(...tokens.map((node) => {
    const out = node.position < data.first;
    const title = out ? "This position is left out: it has no features; what it sends on is the offset 'sink'" : `Token ${node.position}`;
    const chip = make("button", { type: "button", class: out ? "out" : "", title, tabindex: "-1", onclick: () => choose(node), onmouseenter: () => preview(node), onmouseleave: () => preview(null) }, ...spaced(data.tokens[node.position]));
    chip.style.maxWidth = `${Math.min(CHIP, view.columns[node.position].width - 4)}px`;
    node.chip = chip;
    return at(chip, { left: view.columns[node.position].middle });
  }));
}

function at(element, places) {
  for (const [name, value] of Object.entries(places)) element.style[name] = `${value}px`;
  return element;
}

let marked = null;

// What is lit: the edges of the node under the pointer or cursor, else of the chosen node, else a path.
function light() {
  const node = state.cursor ?? (state.query ? null : state.chosen);
  const near = new Map();
  let list = [];
  if (node) {
    near.set(node, "");
    for (const edge of [...node.inputs, ...node.outputs]) {
      const other = edge.from === node ? edge.to : edge.from;
      if (!other.seen || !node.seen) continue;
      list.push(edge);
      near.set(other, edge.weight < 0 ? "near-minus" : "near-plus");
    }
  } else if (state.query) {
    for (const found of search(state.query)) near.set(found, "match");
  } else if (state.path !== null) {
    const steps = data.paths[state.path].nodes.map((i) => nodes[i]);
    steps.forEach((step) => near.set(step, ""));
    list = steps.slice(1).map((to, i) => to.inputs.find((edge) => edge.from === steps[i])).filter((edge) => edge && edge.from.seen && edge.to.seen);
  }
  showLit(near, list, node);
}

function showLit(near, list, node) {
  const pen = ready(lit);
  if (list.length) drawEdges(pen, list, 1.25, false);
  plot.classList.toggle("lit", near.size > 0);
  front.replaceChildren();
  for (const [each, how] of near) {
    if (!each.mark) continue;
    const copy = each.mark.cloneNode(true);
    for (const name of ["id", "role", "aria-label", "aria-selected"]) copy.removeAttribute(name);
    copy.setAttribute("aria-hidden", "true");
    copy.classList.add("near", ...[how, each === state.cursor ? "cursor" : "", each === state.chosen ? "chosen" : ""].filter(Boolean));
    front.append(copy);
  }
  for (const tag of view.tags) if (near.has(tag.node)) front.append(tag.mark.cloneNode(true));
  for (const each of tokens) {
    each.chip?.classList.toggle("near", near.has(each) && node !== each);
    each.chip?.classList.toggle("chosen", each === state.chosen);
  }
  marked?.mark?.setAttribute("aria-selected", "false");
  marked = state.chosen;
  marked?.mark?.setAttribute("aria-selected", "true");
}
