// Edges and heads as they are written in the address, and what a row of an explanation leads to.

export interface EdgeKey {
  source: string;
  target: string;
}

/** A head, the position that looks, and the one that is looked at; null: the one that it looks at most. */
export interface HeadKey {
  layer: number;
  head: number;
  query: number;
  key: number | null;
}

const NODE = /^(L\d+\/\d+|E\d+|T|O\d+)@\d+$/;

export function writeEdge(edge: EdgeKey | null): string {
  return edge ? `${edge.source}~${edge.target}` : "";
}

/** Null for a text that is no edge. */
export function readEdge(text: string | undefined): EdgeKey | null {
  const [source = "", target = "", ...rest] = (text ?? "").split("~");
  return NODE.test(source) && NODE.test(target) && !rest.length ? { source, target } : null;
}

export function writeHead(head: HeadKey | null): string {
  if (!head) return "";
  return [head.layer, head.head, head.query, ...(head.key === null ? [] : [head.key])].join(".");
}

/** Null for a text that is no head. Whether the model has it, the server says. */
export function readHead(text: string | undefined): HeadKey | null {
  const match = /^(\d{1,4})\.(\d{1,4})\.(\d{1,6})(?:\.(\d{1,6}))?$/.exec(text ?? "");
  if (!match) return null;
  const [layer, head, query] = [Number(match[1]), Number(match[2]), Number(match[3])];
  return { layer, head, query, key: match[4] === undefined ? null : Number(match[4]) };
}

export function sameEdge(a: EdgeKey | null, b: EdgeKey | null): boolean {
  return writeEdge(a) === writeEdge(b);
}

export function sameHead(a: HeadKey | null, b: HeadKey | null): boolean {
  return writeHead(a) === writeHead(b);
}

/** `T@4` → 4. */
export function positionOf(id: string): number {
  return Number(id.slice(id.indexOf("@") + 1));
}

/** The positions that a query sees, those with the most attention first; of equals the earlier. */
export function byAttention(weights: readonly number[], query: number): number[] {
  const positions = weights.map((_, position) => position).filter((position) => position <= query);
  return positions.sort((a, b) => weights[b]! - weights[a]! || a - b);
}

/** The largest size of some numbers, by which their bars are drawn. */
export function largest(...values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
}
