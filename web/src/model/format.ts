// Formats numbers, dates and tokens for the whole page, so that the same value looks the same in every view.
import { t } from "../i18n/text";

/** A token with visible signs for line breaks, tabs, and spaces at its ends. */
export function visibleText(text: string): string {
  const withSigns = text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll("\r", "↵");
  return withSigns === "" ? "∅" : withSigns.replace(/^ +| +$/g, (spaces) => "·".repeat(spaces.length));
}

/** Tokens as one reads them in a row: a character that several share stands at one of them, the others are empty. */
export function rowOf(view: { tokens: readonly string[]; shown?: readonly string[] | null }): readonly string[] {
  return view.shown ?? view.tokens;
}

/** A token split into letters and signs for spaces, so that the signs can be drawn fainter. */
export function tokenParts(text: string): { text: string; space: boolean }[] {
  const visible = visibleText(text);
  if (text === "") return [{ text: visible, space: true }];
  if (visible === text) return [{ text: visible, space: false }];
  return visible
    .split(/(^·+|·+$|[⏎⇥↵])/)
    .filter(Boolean)
    .map((part) => ({ text: part, space: /^(·+|[⏎⇥↵])$/.test(part) }));
}

export function fixed(value: number, digits: number): string {
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
}

/** 0.1234 as "12.3 %". */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || Number.isNaN(share)) return "–";
  const value = 100 * share;
  const size = Math.abs(value);
  if (size !== 0 && size < 0.05) return value < 0 ? "−<0.1 %" : "<0.1 %";
  return `${fixed(value, size >= 99.95 ? 0 : 1)} %`;
}

interface OutputNumbers {
  probability?: number | null;
  weight?: number | null;
  value?: number | null;
  token_id?: number | null;
}

/** How likely an output is; 0 for a difference, which has no probability. */
export function chanceOf(output: OutputNumbers): number {
  return output.probability ?? (isToken(output) ? output.weight : null) ?? 0;
}

/** The number beside an output: its probability, or the value of a difference of logits. */
export function outputAmount(output: OutputNumbers): string {
  const known = isToken(output) || typeof output.probability === "number";
  return known ? percent(output.probability ?? output.weight) : amount(output.value);
}

/** Whether an output is a token, and not a difference. */
export function isToken({ token_id }: OutputNumbers): boolean {
  return token_id !== null && token_id !== undefined;
}

/** A change of a probability in percentage points; a change that rounds to zero has no sign. */
export function points(change: number): string {
  const value = 100 * change;
  if (value === 0) return "0 pp";
  if (Math.abs(value) < 0.05) return "<0.1 pp";
  return `${value > 0 ? "+" : ""}${fixed(value, 1)} pp`;
}

/** A share of a corpus in percent. Densities span many orders of magnitude, so small ones use a power of ten. */
export function density(share: number): string {
  const value = 100 * share;
  if (value === 0) return "0 %";
  if (value >= 1) return `${value.toFixed(1)} %`;
  if (value >= 0.01) return `${value.toFixed(2)} %`;
  return `${value
    .toExponential(0)
    .replace("e-", "·10⁻")
    .replace(/⁻(\d+)/, (_, n: string) => "⁻" + superscript(n))} %`;
}

function superscript(digits: string): string {
  return [...digits].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(digit)]).join("");
}

export function amount(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e5)) return value.toExponential(1).replaceAll("-", "−");
  return fixed(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

export function signed(value: number | null | undefined): string {
  return (value !== null && value !== undefined && value > 0 ? "+" : "") + amount(value);
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

export function plural(n: number, singular: string, pluralForm = `${singular}s`): string {
  return `${count(n)} ${n === 1 ? singular : pluralForm}`;
}

export function truncate(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** "3 min ago", for the history. */
export function ago(date: string, now: number): string {
  const seconds = Math.max(0, (now - Date.parse(date)) / 1000);
  if (Number.isNaN(seconds)) return "";
  if (seconds < 60) return t("just now");
  if (seconds < 3600) return t("{a} min ago", { a: Math.floor(seconds / 60) });
  if (seconds < 86400) return t("{a} h ago", { a: Math.floor(seconds / 3600) });
  return date.slice(0, 10);
}
