// Places of values along axes, as shares of the axis. Pure functions, so that tests can check where a mark stands.

/** The place of a value in a histogram whose bins are drawn equally wide, whatever range they span. */
export function markPlace(edges: readonly number[], value: number, log: boolean): number {
  const bins = edges.length - 1;
  if (bins < 1) return 0;
  if (value <= edges[0]!) return 0;
  if (value >= edges[bins]!) return 1;
  let bin = 0;
  while (bin < bins - 1 && value >= edges[bin + 1]!) bin++;
  const [low, high] = [edges[bin]!, edges[bin + 1]!];
  const binShare = log && low > 0 ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return (bin + binShare) / bins;
}

/** The bound of a symmetric range around zero that contains this quantile of the values; the rest is drawn at the
 *  border. */
export function symmetricRange(values: readonly number[], quantile = 0.998): number {
  const sizes = values.map(Math.abs).sort((a, b) => a - b);
  return Math.max(1e-9, sizes[Math.min(sizes.length - 1, Math.floor(sizes.length * quantile))] ?? 1);
}

/** Two to four round values for an axis that ends at `max`. */
export function ticks(max: number): number[] {
  const power = 10 ** Math.floor(Math.log10(max));
  const step = [1, 2, 5, 10].map((n) => n * power).find((each) => max / each <= 3) ?? max;
  const values: number[] = [];
  for (let value = step; value <= max * 1.0001; value += step) values.push(value);
  return values;
}
