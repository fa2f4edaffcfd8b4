// Columns for two rows of tokens: aligned tokens share a column, every other token has its own. Pure.

export function alignedColumns(
  a: number,
  b: number,
  aligned: readonly (readonly number[])[],
): [number | null, number | null][] {
  const columns: [number | null, number | null][] = [];
  let [i, j] = [0, 0];
  for (const [x, y] of [...aligned, [a, b]] as [number, number][]) {
    while (i < x) columns.push([i++, null]);
    while (j < y) columns.push([null, j++]);
    if (x < a && y < b) columns.push([i++, j++]);
  }
  return columns;
}
