// The graph as the page holds it: nodes with their edges, what is visible, and how values are written.

const data = JSON.parse(document.getElementById("data").textContent);
const nodes = data.nodes.map((node, index) => ({ ...node, index, inputs: [], outputs: [], seen: true }));
const edges = data.edges.source.map((source, i) => {
  const target = nodes[data.edges.target[i]];
  const weight = data.edges.weight[i];
  return { from: nodes[source], to: target, weight, share: target.mass > 0 ? weight / target.mass : 0, held: data.edges.held[i] };
});
for (const edge of edges) {
  edge.from.outputs.push(edge);
  edge.to.inputs.push(edge);
}
const heavier = (a, b) => Math.abs(b.weight) - Math.abs(a.weight);
for (const node of nodes) {
  node.inputs.sort(heavier);
  node.outputs.sort(heavier);
}
const byId = new Map(nodes.map((node) => [node.id, node]));
const ranked = [...nodes].sort((a, b) => b.influence - a.influence);
const tokens = nodes.filter((node) => node.kind === "token");
const outputs = nodes.filter((node) => node.kind === "target").sort((a, b) => b.weight - a.weight);
const inner = nodes.filter((node) => node.kind === "feature" || node.kind === "error");
const widest = Math.max(0, ...inner.map((node) => node.held));
const strongest = Math.max(1e-12, ...inner.map((node) => node.influence));
const edgeHolds = edges.map((edge) => edge.held).sort((a, b) => a - b);
const nodeHolds = inner.map((node) => node.held).sort((a, b) => a - b);
const FIRST_EDGES = 420;

const state = { chosen: null, cursor: null, path: null, nodeShare: widest, edgeShare: firstEdgeShare(), errors: true, labels: true, query: "", theme: "auto" };

function firstEdgeShare() {
  return edgeHolds.length > FIRST_EDGES ? edgeHolds[FIRST_EDGES] : 1;
}

// A slider moves through the ranks of its nodes or edges, the first ones slowly; the state keeps the share they hold.
function shareAt(place, holds) {
  if (place >= 1 || !holds.length) return holds.at(-1) ?? 1;
  const count = Math.round(holds.length * place ** 2);
  return count > 0 ? holds[count - 1] : 0;
}

function placeOf(share, holds) {
  return holds.length ? Math.sqrt(holds.filter((held) => held <= share + 1e-9).length / holds.length) : 1;
}

function isSeen(node) {
  if (node.kind === "token" || node.kind === "target") return true;
  if (node.kind === "error" && !state.errors) return false;
  return node.held <= state.nodeShare + 1e-9;
}

function shownText(text) {
  const plain = text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "↵");
  return plain === "" ? "∅" : plain.replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
}

function shortName(node) {
  if (node.kind === "token") return shownText(data.tokens[node.position]);
  if (node.kind === "target") return shownText(node.label);
  if (node.kind === "error") return `error L${node.layer}`;
  return node.label || node.id;
}

function placeName(node) {
  const word = shownText(data.tokens[node.position] ?? "");
  if (node.kind === "token") return `token ${node.position}`;
  if (node.kind === "target") return `output after ${word}`;
  return `layer ${node.layer}, at ${word} (${node.position})`;
}

function chance(node) {
  return node.probability ?? node.weight;
}

function spoken(node) {
  return `${node.kind} ${shortName(node)}, ${placeName(node)}, influence ${percent(node.influence)}`;
}

function percent(share) {
  const value = 100 * share;
  const size = Math.abs(value);
  if (size !== 0 && size < 0.05) return value < 0 ? "−<0.1 %" : "<0.1 %";
  return `${signless(value, size >= 99.95 ? 0 : 1)} %`;
}

function signless(value, digits) {
  return (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

function amount(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1).replace("-", "−");
  return signless(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

function signed(value) {
  return (value > 0 ? "+" : "") + amount(value);
}

function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function spaced(text) {
  const parts = shownText(text).split(/(^·+|·+$)/).filter(Boolean);
  return parts.map((part) => (/^·+$/.test(part) && part !== text ? make("span", { class: "space", text: part }) : part));
}
