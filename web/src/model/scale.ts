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

/** A symmetric logarithmic axis: linear from `-linear` to `linear`, logarithmic beyond it, and ending at `±max`. */
export interface SymmetricScale {
  readonly linear: number;
  readonly max: number;
}

const MOST_DECADES = 5; // of the logarithmic part: smaller values stand in the linear part

/** An axis that holds every one of these values. Its linear part ends at the power of ten below their median size. */
export function symmetricScale(values: readonly number[]): SymmetricScale {
  const sizes = values
    .map(Math.abs)
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  const max = sizes.at(-1) || 1;
  const middle = Math.max(sizes[Math.floor(sizes.length / 2)] ?? max, max / 10 ** MOST_DECADES);
  return { linear: Number((10 ** Math.floor(Math.log10(Math.min(middle, max / 2)))).toPrecision(1)), max };
}

/** The place of a value along the axis as a share of it: 0 at `-max`, 1 at `max`. Values beyond an end go beyond it. */
export function symmetricPlace({ linear, max }: SymmetricScale, value: number): number {
  const distance = (size: number) => (size <= linear ? size / linear : 1 + Math.log10(size / linear));
  return 0.5 + (0.5 * Math.sign(value) * distance(Math.abs(value))) / distance(max);
}

/** Zero, the ends of the linear part, and round values beyond them, from low to high. */
export function symmetricTicks({ linear, max }: SymmetricScale): number[] {
  const decades = Math.log10(max / linear);
  const steps = decades < 1 ? [1, 2, 5] : [1];
  const positive = [linear];
  for (let power = Math.floor(Math.log10(linear)); power <= Math.log10(max); power++)
    for (const step of steps) {
      const value = Number((step * 10 ** power).toPrecision(3));
      if (value > linear * 1.9 && value <= max) positive.push(value);
    }
  return [...positive.map((value) => -value).reverse(), 0, ...positive];
}

/** From this factor on a prediction counts as far from the measurement. */
export const FAR = 2;

/** Of the effects beyond the linear part, how many there are, and how many were predicted with the wrong sign or by
 *  more than the factor `FAR` too large or too small. */
export function farFromDiagonal(
  predicted: readonly number[],
  measured: readonly number[],
  linear: number,
): { large: number; far: number } {
  let [large, far] = [0, 0];
  predicted.forEach((prediction, i) => {
    const measurement = measured[i]!;
    if (Math.max(Math.abs(prediction), Math.abs(measurement)) <= linear) return;
    large++;
    const ratio = prediction / measurement;
    if (!(ratio >= 1 / FAR && ratio <= FAR)) far++;
  });
  return { large, far };
}
