// Puts the page together: the header, the controls, the pointer, the keyboard, the address.

const byName = (name) => document.getElementById(name);
const scroll = byName("scroll");

function showHeader() {
  const first = outputs[0];
  const prompt = data.prompt || data.tokens.join("");
  const words = [make("span", { class: "prompt", title: prompt }, make("span", { text: prompt.length > 90 ? `…${prompt.slice(-88)}` : prompt }))];
  if (first) words.push(make("span", { class: "arrow", text: "→" }), make("span", { class: "answer", text: shownText(first.label).replace(/^·/, "") }));
  if (first && first.probability !== null) words.push(make("span", { class: "chance", text: percent(first.probability) }));
  byName("prompt").replaceChildren(...words);
  const [drawn, all] = [data.counts.shown, data.counts.whole];
  const sizes = all ? `${drawn[0].toLocaleString("en")} of ${all[0].toLocaleString("en")} nodes, ${drawn[1].toLocaleString("en")} of ${all[1].toLocaleString("en")} edges` : `${drawn[0].toLocaleString("en")} nodes, ${drawn[1].toLocaleString("en")} edges`;
  byName("about").textContent = [data.subject, data.dictionary && data.dictionary + (data.kind ? ` (${data.kind.toUpperCase()})` : ""), `in this file: ${sizes}`].filter(Boolean).join("  ·  ");
  const scores = [
    ["Replacement", data.scores.whole[0], data.scores.shown[0], "Share of the influence that starts at tokens and not at errors"],
    ["Completeness", data.scores.whole[1], data.scores.shown[1], "Share of what enters the nodes that is not error"],
    ["Error", data.shares.error, null, "Share of what enters the nodes that comes from errors"],
    ["Offsets", data.shares.offset, null, "Share of what enters the nodes beside the edges: biases, positions, sink, left-out features"],
  ];
  byName("scores").replaceChildren(...scores.map(([name, value, shown, title]) => {
    const fill = make("i");
    fill.style.width = `${100 * value}%`;
    const said = make("dd", { text: shown === null ? percent(value) : value.toFixed(3) });
    if (shown !== null && data.counts.whole) said.append(make("small", { text: `${shown.toFixed(2)} here`, title: "The score of what is in this file; all that was cut away counts as error" }));
    return make("div", { title }, make("dt", { text: name }), said, make("div", { class: "meter", "aria-hidden": "true" }, fill));
  }));
}

function redraw() {
  layOut({ width: scroll.clientWidth - 52, height: scroll.clientHeight - 46 });
  drawFrame();
  drawMarks();
  showControls();
  light();
}

function showControls() {
  const drawn = drawBase();
  const seen = inner.filter((node) => node.seen).length;
  byName("nodes").value = Math.round(1000 * placeOf(state.nodeShare, nodeHolds));
  byName("edges").value = Math.round(1000 * placeOf(state.edgeShare, edgeHolds));
  say("nodes", seen, `${seen} features and errors in view, with the tokens they hold ${percent(state.nodeShare)} of the influence`, state.nodeShare);
  say("edges", drawn, `${drawn} edges drawn, ${percent(state.edgeShare)} of the influence that edges carry; a chosen node shows all of its own`, state.edgeShare);
  byName("errors").checked = state.errors;
  byName("labels").checked = state.labels;
  document.documentElement.dataset.drawn = `${seen} ${drawn}`;
}

function say(name, count, title, share) {
  byName(`${name}-said`).textContent = `${count.toLocaleString("en")} · ${Math.round(100 * share)} %`;
  byName(name).closest("label").title = title;
}

let waiting = 0;
let whole = false;
function redrawSoon(all = true) {
  whole ||= all;
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    (whole ? redraw : showControls)();
    whole = false;
  });
}

function dark() {
  return state.theme === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : state.theme === "dark";
}

function setTheme() {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  redrawSoon();
}

// --- choosing -------------------------------------------------------------------------------------------------------

function preview(node, tipped = true) {
  if (state.cursor === node) return;
  state.cursor = node;
  if (!node || !tipped) showTip(null);
  light();
}

function choose(node) {
  Object.assign(state, { chosen: node, cursor: null, path: null, query: "" });
  byName("search").value = "";
  showTip(null);
  showPanel();
  light();
  if (node) {
    reveal(node);
    byName("live").textContent = `Selected ${spoken(node)}`;
    plot.setAttribute("aria-activedescendant", `node-${node.index}`);
  }
  remember();
}

function choosePath(number) {
  Object.assign(state, { path: number, chosen: null, cursor: null });
  const kept = panel.scrollTop;
  showPanel();
  panel.scrollTop = kept;
  light();
  if (number !== null) reveal(nodes[data.paths[number].nodes[0]]);
  remember();
}

function reveal(node) {
  if (!node.seen) return;
  const [x, y] = [node.x + 52, node.y];
  const [w, h] = [scroll.clientWidth, scroll.clientHeight - 46];
  if (x < scroll.scrollLeft + 70 || x > scroll.scrollLeft + w - 30) scroll.scrollLeft = x - w / 2;
  if (y < scroll.scrollTop + 10 || y > scroll.scrollTop + h - 10) scroll.scrollTop = y - h / 2;
}

// --- the address ----------------------------------------------------------------------------------------------------

function remember() {
  const said = new URLSearchParams();
  if (state.chosen) said.set("node", state.chosen.id);
  if (state.path !== null) said.set("path", state.path);
  if (Math.abs(state.nodeShare - widest) > 1e-6) said.set("nodes", state.nodeShare.toFixed(4));
  if (Math.abs(state.edgeShare - firstEdgeShare()) > 1e-6) said.set("edges", state.edgeShare.toFixed(4));
  if (!state.errors) said.set("errors", "0");
  if (!state.labels) said.set("labels", "0");
  if (state.theme !== "auto") said.set("theme", state.theme);
  const text = said.toString();
  if (text === location.hash.slice(1)) return;
  try {
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  } catch {
    if (text) location.hash = text; // a page inside another may not rewrite its history
  }
}

function recall() {
  const said = new URLSearchParams(location.hash.slice(1));
  const share = (name, otherwise) => (Number.isFinite(parseFloat(said.get(name))) ? Math.min(1, Math.max(0, parseFloat(said.get(name)))) : otherwise);
  state.nodeShare = share("nodes", widest);
  state.edgeShare = share("edges", firstEdgeShare());
  state.errors = said.get("errors") !== "0";
  state.labels = said.get("labels") !== "0";
  state.theme = ["light", "dark"].includes(said.get("theme")) ? said.get("theme") : "auto";
  state.chosen = byId.get(said.get("node")) ?? null;
  state.path = data.paths[said.get("path")] && !state.chosen ? Number(said.get("path")) : null;
  setTheme();
  showPanel();
}

// --- the pointer ----------------------------------------------------------------------------------------------------

function nearest(event) {
  const box = plot.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = null;
  let least = 15;
  for (const node of nodes) {
    if (!node.seen) continue;
    const aside = node.kind === "target" ? Math.max(0, Math.abs(node.x - x) - node.boxWidth / 2) : Math.abs(node.x - x);
    const apart = Math.hypot(aside, node.kind === "target" ? Math.max(0, Math.abs(node.y - y) - 13) : node.y - y) - (node.kind === "target" ? 0 : node.r * 0.6);
    if (apart < least) [best, least] = [node, apart];
  }
  return best;
}

plot.addEventListener("pointermove", (event) => {
  const node = nearest(event);
  preview(node);
  plot.style.cursor = node ? "pointer" : "default";
  showTip(node, event.clientX, event.clientY);
});
plot.addEventListener("pointerleave", () => preview(null));
plot.addEventListener("click", (event) => {
  const node = nearest(event);
  choose(node === state.chosen ? null : node);
});
scroll.addEventListener("scroll", () => showTip(null), { passive: true });

// --- the keyboard ---------------------------------------------------------------------------------------------------

function step(direction) {
  const from = state.cursor ?? state.chosen ?? outputs[0];
  const open = nodes.filter((node) => node.seen && node !== from);
  const ahead = { ArrowLeft: (n) => rowOf(n) === rowOf(from) && n.x < from.x, ArrowRight: (n) => rowOf(n) === rowOf(from) && n.x > from.x, ArrowUp: (n) => rowOf(n) > rowOf(from), ArrowDown: (n) => rowOf(n) < rowOf(from) }[direction];
  const cost = (n) => (rowOf(n) === rowOf(from) ? Math.abs(n.x - from.x) + Math.abs(n.y - from.y) : 1e4 * Math.abs(rowOf(n) - rowOf(from)) + Math.abs(n.x - from.x));
  moveTo(open.filter(ahead).sort((a, b) => cost(a) - cost(b))[0]);
}

function stepByInfluence(by) {
  const order = [...outputs, ...ranked.filter((node) => node.seen && node.kind !== "target")];
  const place = order.indexOf(state.cursor ?? state.chosen);
  moveTo(order[Math.max(0, Math.min(order.length - 1, place + by))]);
}

function moveTo(node) {
  if (!node) return;
  state.cursor = node;
  reveal(node);
  light();
  const box = plot.getBoundingClientRect();
  showTip(node, box.left + node.x, box.top + node.y);
  byName("live").textContent = spoken(node);
  plot.setAttribute("aria-activedescendant", `node-${node.index}`);
}

function follow(list, end) {
  const edge = list.find((each) => each[end].seen);
  if (edge) choose(edge[end]);
}

const keys = {
  ArrowLeft: () => step("ArrowLeft"), ArrowRight: () => step("ArrowRight"), ArrowUp: () => step("ArrowUp"), ArrowDown: () => step("ArrowDown"),
  j: () => stepByInfluence(1), k: () => stepByInfluence(-1), Enter: () => state.cursor && choose(state.cursor),
  i: () => state.chosen && follow(state.chosen.inputs, "from"), o: () => state.chosen && follow(state.chosen.outputs, "to"),
  e: () => toggle("errors"), l: () => toggle("labels"), t: switchTheme, "?": () => byName("help").showModal(),
  "/": () => byName("search").focus(), Escape: () => choose(null),
};

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=search]");
  const button = event.target.matches("button, input, dialog, dialog *");
  if (event.ctrlKey || event.metaKey || event.altKey || byName("help").open) return;
  if (typing) {
    if (event.key === "Escape") setQuery(""), plot.focus({ preventScroll: true });
    if (event.key === "Enter" && search(state.query)[0]) choose(search(state.query)[0]), plot.focus({ preventScroll: true });
    return;
  }
  if (!keys[event.key] || (button && (event.key === "Enter" || event.key.startsWith("Arrow")))) return;
  event.preventDefault();
  keys[event.key]();
});

// --- the controls ---------------------------------------------------------------------------------------------------

function toggle(name) {
  state[name] = !state[name];
  redrawSoon();
  remember();
}

function switchTheme() {
  state.theme = dark() ? "light" : "dark";
  setTheme();
  remember();
}

function setQuery(query) {
  state.query = query;
  byName("search").value = query;
  showPanel();
  light();
}

byName("errors").addEventListener("change", () => toggle("errors"));
byName("labels").addEventListener("change", () => toggle("labels"));
byName("theme").addEventListener("click", switchTheme);
byName("ask").addEventListener("click", () => byName("help").showModal());
byName("search").addEventListener("input", (event) => setQuery(event.target.value));
byName("nodes").addEventListener("input", (event) => {
  state.nodeShare = shareAt(event.target.value / 1000, nodeHolds);
  redrawSoon();
  remember();
});
byName("edges").addEventListener("input", (event) => {
  state.edgeShare = shareAt(event.target.value / 1000, edgeHolds);
  redrawSoon(false);
  remember();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme());
window.addEventListener("hashchange", recall);
new ResizeObserver(() => redrawSoon()).observe(scroll);

showHeader();
recall();
redraw();
scroll.scrollLeft = state.chosen ? scroll.scrollLeft : scroll.scrollWidth; // outputs mostly stand at the last token
if (state.chosen) reveal(state.chosen);
