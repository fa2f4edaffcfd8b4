// Edits as values, and their form in the address: `scale L3/1207@4=2;ablate L2/9@all`. Pure functions.
import { type Text, t } from "../i18n/text";
import type { EditBody, KitView } from "../types";
import { layerOf } from "./graph";

export type Verb = EditBody["verb"];

export interface EditLine {
  verb: Verb;
  feature: string;
  strength: number;
  /** `all`, `prompt`, `generated`, or positions with commas between. */
  positions: string;
}

export const VERBS: readonly { verb: Verb; phrase: Text; strength: number }[] = [
  { verb: "ablate", phrase: "switch off", strength: 0 },
  { verb: "scale", phrase: "multiply by", strength: 2 },
  { verb: "set", phrase: "set to", strength: 5 },
  { verb: "add", phrase: "add", strength: 5 },
  { verb: "steer", phrase: "steer along, by", strength: 5 },
];

export function writeEdits(edits: readonly EditLine[]): string {
  return edits
    .map((each) => `${each.verb} ${each.feature}@${each.positions}${each.verb === "ablate" ? "" : `=${each.strength}`}`)
    .join(";");
}

const FORM = /^(ablate|scale|set|add|steer) (L\d+\/\d+)@([^;=@\s]+)(?:=(-?[\d.e+-]+))?$/;

export function readEdits(text: string): EditLine[] {
  return text
    .split(";")
    .map((part) => FORM.exec(part.trim()))
    .filter((match) => match !== null)
    .map((match) => ({
      verb: match[1] as Verb,
      feature: match[2]!,
      positions: match[3]!,
      strength: Number(match[4] ?? 0) || 0,
    }));
}

/** Positions in the form of the server's API; null if the text is not valid. */
export function positionsOf(text: string): EditBody["positions"] | null {
  if (text === "all" || text === "prompt" || text === "generated") return text;
  return /^\d{1,6}(,\d{1,6})*$/.test(text) ? text.split(",").map(Number) : null;
}

export function bodyOf(edit: EditLine): EditBody {
  const positions = positionsOf(edit.positions);
  if (positions === null)
    throw new Error(
      t("{a} is no position: write all, prompt, generated, or numbers with commas", { a: edit.positions }),
    );
  return {
    verb: edit.verb,
    feature: edit.feature,
    strength: edit.verb === "ablate" ? 0 : edit.strength,
    positions,
    layer: null,
  };
}

/** Whether all edits act on generated tokens only, so that there is no effect on the prompt to measure. */
export function onlyGenerated(edits: readonly EditLine[]): boolean {
  return edits.every((each) => each.positions === "generated");
}

/** The layers through which these edits can be clamped, from the last edited one upward; empty if nothing is
 *  clamped. */
export function clampable(
  edits: readonly EditLine[],
  kit: Pick<KitView, "dictionary_kind" | "n_layers" | "writes">,
): number[] {
  if (kit.dictionary_kind === "sae") return [];
  const first = edits
    .filter((each) => each.verb !== "steer")
    .map((each) => kit.writes[layerOf(each.feature)]?.[0] ?? layerOf(each.feature));
  if (!first.length) return [];
  const last = Math.max(...first);
  return Array.from({ length: Math.max(0, kit.n_layers - last) }, (_, i) => last + i);
}
