// Attention patterns as the server packs them, and what is read off them: weights, lines, thumbnails, what is pointed at.
const ALL = 65535; // stands for all of the attention

/** One head's weights, query by query, keys from the first to the query itself. */
export type HeadPattern = Uint16Array;

export interface Pair {
  query: number;
  key: number;
}

export interface AttentionLine extends Pair {
  weight: number;
}

const rowStart = (query: number) => (query * (query + 1)) / 2;

/** The patterns of some heads from base64; an Error where they are not of so many heads and tokens. */
export function unpackPatterns(text: string, heads: number, tokens: number): HeadPattern[] {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const size = rowStart(tokens);
  if (bytes.length !== 2 * heads * size)
    throw new Error(`${bytes.length} bytes for ${heads} heads of ${tokens} tokens`);
  const view = new DataView(bytes.buffer);
  const weights = Uint16Array.from({ length: heads * size }, (_, i) => view.getUint16(2 * i, true));
  return Array.from({ length: heads }, (_, head) => weights.subarray(head * size, (head + 1) * size));
}

/** How much of a query's attention goes to a key; 0 behind the query. */
export function attentionWeight(pattern: HeadPattern, query: number, key: number): number {
  return key > query ? 0 : (pattern[rowStart(query) + key] ?? 0) / ALL;
}

export function queryWeights(pattern: HeadPattern, query: number): number[] {
  return Array.from({ length: query + 1 }, (_, key) => attentionWeight(pattern, query, key));
}

/** All pairs with at least so much weight, the weakest first, so that strong lines are drawn over weak ones. */
export function strongLines(pattern: HeadPattern, tokens: number, least: number): AttentionLine[] {
  const lines: AttentionLine[] = [];
  for (let query = 0; query < tokens; query++)
    for (let key = 0; key <= query; key++) {
      const weight = attentionWeight(pattern, query, key);
      if (weight >= least) lines.push({ query, key, weight });
    }
  return lines.sort((a, b) => a.weight - b.weight);
}

/** The largest weight in each cell of a small square: a head at a glance. Row by row, 0 to 1. */
export function thumbnailOf(pattern: HeadPattern, tokens: number, side: number): Float32Array {
  const cells = new Float32Array(side * side);
  for (let query = 0; query < tokens; query++) {
    const row = Math.floor((query * side) / tokens) * side;
    for (let key = 0; key <= query; key++) {
      const cell = row + Math.floor((key * side) / tokens);
      const weight = attentionWeight(pattern, query, key);
      if (weight > cells[cell]!) cells[cell] = weight;
    }
  }
  return cells;
}

/** The line nearest to a point between the two columns. `along` runs from 0 at the queries to 1 at the keys, `row` is a
 *  height in rows; null where none is within half a row and two more. */
export function nearestLine(lines: readonly AttentionLine[], along: number, row: number): AttentionLine | null {
  let nearest: AttentionLine | null = null;
  let distance = 2.5;
  for (const line of lines) {
    const away = Math.abs(line.query + along * (line.key - line.query) - row);
    if (away <= distance) [nearest, distance] = [line, away]; // of equals the stronger, which comes later
  }
  return nearest;
}

/** Where arrows lead: up and down through queries, left and right through the keys that the query sees. */
export function movedPair(pair: Pair, key: string, tokens: number): Pair | null {
  const steps: Record<string, readonly [number, number]> = {
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    Home: [-tokens, 0],
    End: [tokens, 0],
  };
  const step = steps[key];
  if (!step) return null;
  const query = Math.max(0, Math.min(tokens - 1, pair.query + step[0]));
  return { query, key: Math.max(0, Math.min(query, pair.key + step[1])) };
}
