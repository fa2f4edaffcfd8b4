// A histogram with a mark at one value. Heights are square roots of counts, so that rare strong activations are
// visible.
import { t } from "../i18n/text";
import { amount, count } from "../model/format";
import { markPlace } from "../model/scale";

interface Props {
  counts: readonly number[];
  edges: readonly number[];
  mark: number | null;
  log?: boolean;
  zero?: boolean;
  label: string;
}

const [WIDE, HIGH] = [320, 64];

export function Histogram({ counts, edges, mark, log = false, zero = false, label }: Props) {
  if (!counts.length) return null;
  const max = Math.max(1, ...counts);
  const step = WIDE / counts.length;
  const place = mark === null || mark <= 0 ? null : markPlace(edges, mark, log);
  const middle = zero ? markPlace(edges, 0, false) : null;
  const ticks = [edges[0]!, edges[Math.floor(edges.length / 2)]!, edges.at(-1)!];
  const description = t("{a}: {b} in all, from {c} to {d}{e}", {
    a: label,
    b: count(counts.reduce((sum, n) => sum + n, 0)),
    c: amount(ticks[0]),
    d: amount(ticks[2]),
    e: mark === null ? "" : t("; here {a}", { a: amount(mark) }),
  });
  return (
    <div class="histogram" role="img" aria-label={description}>
      <svg viewBox={`0 0 ${WIDE} ${HIGH}`} preserveAspectRatio="none" aria-hidden="true">
        {counts.map((n, i) => {
          const high = n ? Math.max(1.5, (HIGH - 6) * Math.sqrt(n / max)) : 0;
          return (
            <rect key={i} x={i * step + 0.5} y={HIGH - high} width={Math.max(0.5, step - 1)} height={high}>
              <title>{`${t("{low} to {high}", { low: amount(edges[i]), high: amount(edges[i + 1]) })}: ${count(n)}`}</title>
            </rect>
          );
        })}
        {middle !== null && middle > 0 && middle < 1 && <path class="zero" d={`M${middle * WIDE} 0V${HIGH}`} />}
        {place !== null && <path class="mark" d={`M${place * WIDE} 0V${HIGH}`} />}
      </svg>
      <p aria-hidden="true">
        {ticks.map((tick, i) => (
          <span key={i}>{amount(tick)}</span>
        ))}
      </p>
    </div>
  );
}
