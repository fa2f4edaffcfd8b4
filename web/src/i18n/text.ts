// Every text of the interface, by its English wording: `t("Show fewer")`. The Russian table has exactly these texts, so
// that one which is missing there is an error of types. `{name}` in a text stands for a value.
import { language, russian } from "../state/language";
import type { RUSSIAN } from "./russian";

export type Text = keyof typeof RUSSIAN;
type Values = Readonly<Record<string, string | number>>;

export function t(text: Text, values?: Values): string {
  return fill(russian.value?.RUSSIAN[text] ?? text, values);
}

/** A text of the server, which writes English: in the page's language where the table has it. */
export function known(text: string): string {
  const tables = russian.value;
  return tables ? ((tables.RUSSIAN as Readonly<Record<string, string>>)[text] ?? tables.OF_SERVER[text] ?? text) : text;
}

export function fill(text: string, values: Values = {}): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

/** The form of a count: English has two, Russian three (1 узел, 2 узла, 5 узлов). */
export function counted(n: number, forms: Text): string {
  const words = t(forms).split("|");
  return `${n.toLocaleString("en")} ${words[language.value === "ru" ? russianForm(n) : n === 1 ? 0 : 1] ?? words.at(-1)}`;
}

export function russianForm(n: number): number {
  const [tens, ones] = [Math.abs(n) % 100, Math.abs(n) % 10];
  if (tens >= 11 && tens <= 14) return 2;
  return ones === 1 ? 0 : ones >= 2 && ones <= 4 ? 1 : 2;
}
