// The panel: the whole graph when nothing is chosen, else one node; and the tip beside the pointer.

const panel = document.getElementById("panel");
const tip = document.getElementById("tip");
const OFFSETS = { bias: "biases", position: "position", sink: "sink (left-out first position)", left_out: "left-out features" };
const FEW = 12;

function showPanel() {
  if (state.query) panel.replaceChildren(...resultsView());
  else if (state.chosen) panel.replaceChildren(...nodeView(state.chosen));
  else panel.replaceChildren(...graphView());
  panel.scrollTop = 0;
}

function bar(share) {
  const fill = make("i", { class: share < 0 ? "minus" : "plus" });
  fill.style.width = `${Math.min(50, 50 * Math.abs(share))}%`;
  return make("span", { class: "bar", "aria-hidden": "true" }, fill);
}

// An amount without a sign, such as influence.
function plainBar(share) {
  const fill = make("i");
  fill.style.width = `${Math.min(100, 100 * share)}%`;
  return make("span", { class: "bar plain", "aria-hidden": "true" }, fill);
}

function nodeButton(node, fill, num, note) {
  const name = make("span", { class: "what", title: `${node.id} ${shortName(node)}` }, ...(node.kind === "token" ? spaced(data.tokens[node.position]) : [shortName(node)]));
  const where = node.kind === "token" ? "token" : node.kind === "target" ? "output" : node.label ? node.id : shownText(data.tokens[node.position]);
  name.append(make("em", { text: where }));
  return make("button", { class: "row", type: "button", onclick: () => choose(node), onmouseenter: () => preview(node, false), onmouseleave: () => preview(null) },
    fill, name, make("span", { class: "num", text: num }), make("span", { class: "part", text: note }));
}

function listed(rows, empty) {
  if (!rows.length) return [make("p", { class: "note", text: empty })];
  const list = make("ul", { class: "rows" }, ...rows.slice(0, FEW).map((row) => make("li", {}, row())));
  if (rows.length <= FEW) return [list];
  const more = make("button", { class: "more", type: "button", text: `Show all ${rows.length}` });
  more.addEventListener("click", () => {
    list.append(...rows.slice(FEW).map((row) => make("li", {}, row())));
    more.remove();
  });
  return [list, more];
}

function edgeRows(list, end) {
  const most = Math.max(1e-12, ...list.map((edge) => Math.abs(edge.weight)));
  return list.map((edge) => () => nodeButton(edge[end], bar(edge.weight / most), signed(edge.weight), percent(Math.abs(edge.share))));
}

function heading(text, note = "") {
  return make("h3", {}, text, make("small", { text: note }));
}

function facts(pairs) {
  return make("dl", { class: "facts" }, ...pairs.map(([name, value, title]) => make("div", title ? { title } : {}, make("dt", { text: name }), make("dd", { text: value }))));
}

function nodeView(node) {
  const kinds = { feature: "Feature", error: "Error", token: "Token embedding", target: "Output" };
  const close = make("button", { class: "close", type: "button", text: "✕", "aria-label": "Back to the whole graph", onclick: () => choose(null) });
  const parts = [make("p", { class: "kind" }, make("span", {}, `${kinds[node.kind]} · ${placeName(node)}`), close)];
  parts.push(make("h2", {}, ...(node.kind === "token" ? spaced(data.tokens[node.position]) : [node.kind === "target" ? shownText(node.label) : node.label || node.id])));
  parts.push(make("p", { class: "kind" }, make("code", { text: node.id })));
  parts.push(facts(factsOf(node)));
  if (node.kind === "feature" || node.kind === "target") parts.push(...madeOf(node));
  if (node.mass !== null) parts.push(heading("Inputs", "weight · share of input"), ...listed(edgeRows(node.inputs, "from"), "No edge into this node is in this file."));
  if (node.kind !== "target") parts.push(heading("Outputs", "weight · share of their input"), ...listed(edgeRows(node.outputs, "to"), "No edge out of this node is in this file."));
  const through = data.paths.map((path, i) => [path, i]).filter(([path]) => path.nodes.includes(node.index));
  if (through.length) parts.push(heading("On these strongest paths"), ...through.map(([path, i]) => pathButton(path, i)));
  return parts;
}

function factsOf(node) {
  const influence = ["Influence", percent(node.influence), "Share of the outputs' weight that passes through this node"];
  const rank = ["Rank", `${ranked.filter((other) => other.kind === node.kind).indexOf(node) + 1} of ${nodes.filter((other) => other.kind === node.kind).length}`];
  if (node.kind === "feature") return [["Activation", amount(node.activation)], ["Pre-activation", amount(node.value)], influence, ["Error share", percent(node.error)], ["Layer", String(node.layer)], rank];
  if (node.kind === "target") return [["Probability", node.probability === null ? "–" : percent(node.probability)], ["Centred logit", amount(node.value)], ["Error share", percent(node.error)]];
  if (node.kind === "error") return [influence, ["Layer", String(node.layer)], rank];
  return [influence, ["Position", String(node.position)], ["Token id", String(node.token)]];
}

// The identity: edges here + edges cut away + offsets = pre-activation.
function madeOf(node) {
  const known = Math.max(0, 1 - node.error - node.lost);
  const sum = node.inputs.reduce((total, edge) => total + edge.weight, 0);
  const offsets = node.offsets.reduce((total, value) => total + value, 0);
  const rest = node.value - sum - offsets;
  const widths = [["known", known], ["missed", node.error], ["lost", node.lost]];
  const stack = make("div", { class: "stack", role: "img", "aria-label": `input: ${percent(known)} features and tokens, ${percent(node.error)} errors, ${percent(node.lost)} not in this file` },
    ...widths.map(([name, share]) => { const part = make("i", { class: name }); part.style.width = `${100 * share}%`; return part; }));
  const split = make("p", { class: "split" }, ...[["features and tokens", known], ["errors", node.error], ["not in this file", node.lost]].map(([name, share]) => make("span", {}, make("b", { text: percent(share) }), ` ${name}`)));
  const terms = [["edges shown here", sum], ...data.offsetNames.map((name, i) => [OFFSETS[name] ?? name, node.offsets[i]])];
  if (Math.abs(rest) > 1e-4 * Math.max(1, Math.abs(node.value))) terms.splice(1, 0, ["edges not in this file", rest]);
  const most = Math.max(1e-12, ...terms.map(([, value]) => Math.abs(value)));
  const rows = terms.filter(([, value]) => value !== 0).map(([name, value]) => make("li", {}, make("div", { class: "row" }, bar(value / most), make("span", { class: "what", text: name }), make("span", { class: "num", text: signed(value) }), make("span", {}))));
  const total = make("li", {}, make("div", { class: "row" }, make("span", {}), make("span", { class: "what" }, make("strong", { text: node.kind === "target" ? "= centred logit" : "= pre-activation" })), make("strong", { class: "num", text: signed(node.value) }), make("span", {})));
  return [heading("Where its input comes from"), stack, split, heading("It adds up"), make("ul", { class: "rows" }, ...rows, total)];
}

function pathButton(path, number) {
  const steps = path.nodes.flatMap((index, i) => {
    const node = nodes[index];
    const word = node.kind === "token" || node.kind === "target";
    const step = make("span", { class: `step${word ? " word" : ""}`, title: node.id, text: shortName(node) });
    if (i === 0) return [step];
    const edge = node.inputs.find((each) => each.from.index === path.nodes[i - 1]);
    const minus = edge && edge.weight < 0;
    return [make("span", { class: `go ${minus ? "minus" : "plus"}`, text: minus ? "⊣" : "→", title: minus ? "takes away" : "adds" }), step];
  });
  const button = make("button", { class: "path", type: "button", "aria-pressed": String(state.path === number), onclick: () => choosePath(state.path === number ? null : number) },
    make("span", { class: "sum", text: percent(path.weight) }), ...steps);
  return button;
}

function graphView() {
  const parts = [make("h2", { text: "From the prompt to the answer" })];
  parts.push(make("ul", { class: "outs" }, ...outputs.slice(0, 6).map((node) => {
    const fill = make("i");
    fill.style.width = `${100 * Math.min(1, chance(node))}%`;
    const button = make("button", { type: "button", onclick: () => choose(node), onmouseenter: () => preview(node, false), onmouseleave: () => preview(null) }, fill, make("span", { text: shownText(node.label) }), make("span", { text: percent(chance(node)) }));
    return make("li", {}, button);
  })));
  parts.push(heading("Strongest paths", "token to output, share of the output"));
  if (data.paths.length) parts.push(...data.paths.slice(0, 10).map(pathButton));
  else parts.push(make("p", { class: "note", text: "No path leads from a token to an output in this file." }));
  parts.push(...roleList("Input features", "half or more of their input is tokens", data.roles.inputs));
  parts.push(...roleList("Output features", "half or more of their influence is direct", data.roles.outputs));
  parts.push(make("p", { class: "note", text: "Point at a mark to see what it reads and writes; click it to keep it. Press ? for help." }));
  return parts;
}

function roleList(title, note, list) {
  if (!list.length) return [];
  return [heading(title, note), ...listed(list.map((index) => () => nodeButton(nodes[index], plainBar(nodes[index].influence / strongest), "", percent(nodes[index].influence))), "")];
}

function search(query) {
  const wanted = query.trim().toLowerCase();
  if (!wanted) return [];
  return ranked.filter((node) => node.seen && [node.id, node.label ?? "", data.tokens[node.position] ?? "", node.kind].some((text) => text.toLowerCase().includes(wanted)));
}

function resultsView() {
  const found = search(state.query);
  const rows = found.map((node) => () => nodeButton(node, plainBar(node.influence / strongest), "", percent(node.influence)));
  return [make("h2", { text: `${found.length} node${found.length === 1 ? "" : "s"} match` }), heading("By influence", "Enter takes the first"), ...listed(rows, "Nothing in view has this label, token or id.")];
}

function showTip(node, x, y) {
  if (!node) {
    tip.hidden = true;
    return;
  }
  const kind = node.kind === "feature" ? `${node.id} · activation ${amount(node.activation)}` : node.kind === "target" ? `centred logit ${amount(node.value)}` : node.id;
  const lines = [make("strong", { text: shortName(node) }), make("p", { text: placeName(node) }), make("p", { text: kind })];
  if (node.kind !== "target") lines.push(make("p", { text: `influence ${percent(node.influence)}` }));
  if (node.kind === "feature" || node.kind === "target") lines.push(make("p", { text: `${percent(node.error)} of its input is error` }));
  if (state.chosen && state.chosen !== node) {
    const edge = node.outputs.find((each) => each.to === state.chosen) ?? node.inputs.find((each) => each.from === state.chosen);
    if (edge) lines.push(make("p", { class: "edge", text: `${edge.weight < 0 ? "takes" : "adds"} ${amount(Math.abs(edge.weight))} ${edge.to === state.chosen ? "to the chosen node" : "from the chosen node"} (${percent(Math.abs(edge.share))} of the input)` }));
  }
  tip.replaceChildren(...lines);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 16, window.innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > window.innerHeight ? y - box.height - 14 : y + 18}px`;
}
