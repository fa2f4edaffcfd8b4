// Where everything stands: a column for each token, as wide as its fullest cell needs; a row for each layer.

const CHIP = 120;
const ruler = document.createElement("canvas").getContext("2d");
const view = { width: 0, height: 0, columns: [], rows: [], tags: [], scale: 1 };

function textWidth(text, font) {
  ruler.font = font;
  return ruler.measureText(text).width;
}

const SANS = '12px ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
const MONO = '13px ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace';

function rowOf(node) {
  if (node.kind === "token") return 0;
  return node.kind === "target" ? data.layers + 1 : node.layer + 1;
}

function layOut(room) {
  for (const node of nodes) node.seen = isSeen(node);
  const cells = new Map();
  for (const node of inner) {
    if (!node.seen) continue;
    const key = `${rowOf(node)},${node.position}`;
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(node);
  }
  const fullest = Math.max(1, ...[...cells.values()].map((cell) => cell.length));
  const pitch = fullest > 40 ? 14 : fullest > 14 ? 17 : fullest > 7 ? 20 : 24;
  view.scale = Math.max(0.6, pitch / 24);
  placeColumns(cells, pitch, room.width);
  const outRows = measureOutputs();
  placeRows(cells, pitch, room.height, outRows);
  for (const [key, cell] of cells) placeCell(key, cell, pitch);
  for (const node of tokens) {
    const column = view.columns[node.position];
    Object.assign(node, { x: column.middle, y: view.rows[0].middle, r: 7 });
  }
  placeOutputs();
  placeTags(pitch);
}

function placeColumns(cells, pitch, room) {
  const counts = data.tokens.map(() => 0);
  for (const [key, cell] of cells) {
    const position = Number(key.split(",")[1]);
    counts[position] = Math.max(counts[position], cell.length);
  }
  const columns = data.tokens.map((token, position) => {
    const across = counts[position] <= 5 ? counts[position] : Math.ceil(Math.sqrt(counts[position] * 2.4));
    const chip = Math.min(CHIP, textWidth(shownText(token), MONO) + 22);
    return { across: Math.max(1, across), chip, width: Math.max(chip + 8, across * pitch + 14, 34) };
  });
  const spare = room - columns.reduce((sum, column) => sum + column.width, 0);
  const parts = columns.reduce((sum, column) => sum + (counts.length > 24 ? 1 : column.across + 1), 0);
  let left = 0;
  for (const column of columns) {
    if (spare > 0) column.width += (spare * (counts.length > 24 ? 1 : column.across + 1)) / parts;
    Object.assign(column, { left, right: left + column.width, middle: left + column.width / 2 });
    left += column.width;
  }
  view.columns = columns;
  view.width = Math.floor(left);
}

function placeRows(cells, pitch, room, outRows) {
  const lines = Array(data.layers + 2).fill(0);
  for (const [key, cell] of cells) {
    const [row, position] = key.split(",").map(Number);
    lines[row] = Math.max(lines[row], Math.ceil(cell.length / view.columns[position].across));
  }
  const heights = lines.map((count) => Math.max(data.layers > 16 ? 20 : 26, count * pitch + 12));
  heights[0] = 32;
  heights[data.layers + 1] = outRows * 32 + 12;
  const spare = room - heights.reduce((sum, height) => sum + height, 0);
  const parts = lines.slice(1, -1).reduce((sum, count) => sum + 0.6 + count, 0);
  let bottom = 0;
  view.rows = heights.map((height, row) => {
    const layer = row > 0 && row <= data.layers;
    const full = height + (spare > 0 && layer ? (spare * (0.6 + lines[row])) / parts : 0);
    bottom += full;
    return { bottom, height: full };
  });
  view.height = Math.floor(Math.max(bottom, room));
  for (const row of view.rows) {
    row.top = view.height - row.bottom;
    row.middle = row.top + row.height / 2;
  }
}

function placeCell(key, cell, pitch) {
  const [row, position] = key.split(",").map(Number);
  const column = view.columns[position];
  const largest = Math.min(11, pitch / 2 - 0.5);
  const lines = Math.ceil(cell.length / column.across);
  const across = Math.ceil(cell.length / lines);
  const step = Math.min((column.width - 10) / across, pitch * 1.9);
  const drop = Math.max(pitch, Math.min(pitch * 1.4, (view.rows[row].height - 16) / lines));
  cell.sort((a, b) => (a.kind === "error") - (b.kind === "error") || b.influence - a.influence);
  cell.forEach((node, i) => {
    const line = Math.floor(i / across);
    const inLine = Math.min(across, cell.length - line * across);
    node.x = column.middle + ((i % across) - (inLine - 1) / 2) * step;
    node.y = view.rows[row].middle + (line - (lines - 1) / 2) * drop;
    node.r = 3 + (largest - 3) * Math.sqrt(node.influence / strongest);
  });
}

function measureOutputs() {
  let most = 1;
  const places = new Map();
  for (const node of outputs) {
    node.boxWidth = Math.max(66, textWidth(shownText(node.label), `600 ${MONO}`) + textWidth(percent(chance(node)), SANS) + 30);
    if (!places.has(node.position)) places.set(node.position, []);
    places.get(node.position).push(node);
  }
  for (const [position, group] of places) {
    const alone = places.size === 1;
    const room = alone ? Math.max(300, Math.min(view.width - 16, 460)) : view.columns[position].width;
    let line = [];
    let wide = 0;
    const lines = [line];
    for (const node of group) {
      if (line.length && wide + node.boxWidth + 8 > room) lines.push((line = [])), (wide = 0);
      line.push(node);
      wide += node.boxWidth + 8;
    }
    group.lines = lines;
    most = Math.max(most, lines.length);
  }
  view.outputs = places;
  return most;
}

function placeOutputs() {
  const row = view.rows[data.layers + 1];
  for (const [position, group] of view.outputs) {
    const column = view.columns[position];
    const wide = Math.max(...group.lines.map((line) => line.reduce((sum, node) => sum + node.boxWidth + 8, -8)));
    const left = Math.max(8, Math.min(column.middle - wide / 2, view.width - wide - 8));
    group.lines.forEach((line, i) => {
      let x = left;
      const y = row.middle + (i - (group.lines.length - 1) / 2) * 32;
      for (const node of line) {
        Object.assign(node, { x: x + node.boxWidth / 2, y, r: 13 });
        x += node.boxWidth + 8;
      }
    });
  }
}

// Names beside the most influential marks, where they cover neither a mark nor each other.
function placeTags(pitch) {
  view.tags = [];
  if (!state.labels) return;
  const taken = nodes.filter((node) => node.seen && node.kind !== "target").map((node) => [node.x - node.r - 1, node.y - node.r, node.x + node.r + 1, node.y + node.r]);
  taken.push(...outputs.map((node) => [node.x - node.boxWidth / 2, node.y - 14, node.x + node.boxWidth / 2, node.y + 14]));
  const limit = pitch < 17 ? 24 : 60;
  for (const node of ranked) {
    if (view.tags.length >= limit) break;
    if (node.kind !== "feature" || !node.seen || !node.label) continue;
    const text = node.label.length > 30 ? `${node.label.slice(0, 28)}…` : node.label;
    const wide = textWidth(text, SANS) + 4;
    const spots = [
      [node.x - wide / 2, node.y - node.r - 16], [node.x - wide / 2, node.y + node.r + 2], [node.x + node.r + 4, node.y - 7],
      [node.x - node.r - 4 - wide, node.y - 7], [node.x - 8, node.y - node.r - 16], [node.x + 8 - wide, node.y - node.r - 16],
      [node.x - 8, node.y + node.r + 2], [node.x + 8 - wide, node.y + node.r + 2],
    ];
    for (const [x, y] of spots) {
      const box = [x, y, x + wide, y + 14];
      if (box[0] < 2 || box[2] > view.width - 2 || box[1] < 2 || box[3] > view.height) continue;
      if (taken.some((other) => box[0] < other[2] && box[2] > other[0] && box[1] < other[3] && box[3] > other[1])) continue;
      taken.push(box);
      view.tags.push({ node, text, x: x + 2, y: y + 11 });
      break;
    }
  }
}
