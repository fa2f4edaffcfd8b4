// Edits as the page holds them, and as the address writes them: `scale L3/1207@4=2;ablate L2/9@all`. Pure.
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

export const VERBS: readonly { verb: Verb; says: string; strength: number }[] = [
  { verb: "ablate", says: "switch off", strength: 0 },
  { verb: "scale", says: "multiply by", strength: 2 },
  { verb: "set", says: "set to", strength: 5 },
  { verb: "add", says: "add", strength: 5 },
  { verb: "steer", says: "steer along, by", strength: 5 },
];

export function writeEdits(edits: readonly EditLine[]): string {
  return edits.map((each) => `${each.verb} ${each.feature}@${each.positions}${each.verb === "ablate" ? "" : `=${each.strength}`}`).join(";");
}

const FORM = /^(ablate|scale|set|add|steer) (L\d+\/\d+)@([\w,]+)(?:=(-?[\d.e+-]+))?$/;

export function readEdits(text: string): EditLine[] {
  return text
    .split(";")
    .map((part) => FORM.exec(part.trim()))
    .filter((match) => match !== null)
    .map((match) => ({ verb: match[1] as Verb, feature: match[2]!, positions: match[3]!, strength: Number(match[4] ?? 0) || 0 }));
}

export function bodyOf(edit: EditLine): EditBody {
  const named = edit.positions === "all" || edit.positions === "prompt" || edit.positions === "generated";
  const positions = named ? (edit.positions as "all") : edit.positions.split(",").map(Number).filter(Number.isInteger);
  const strength = edit.verb === "ablate" ? 0 : edit.strength;
  return { verb: edit.verb, feature: edit.feature, strength, positions: Array.isArray(positions) && !positions.length ? "all" : positions, layer: null };
}

/** The layers through which these edits may be clamped, the last edited one first; none where nothing is clamped. */
export function clampable(edits: readonly EditLine[], kit: Pick<KitView, "dictionary_kind" | "n_layers" | "writes">): number[] {
  if (kit.dictionary_kind === "sae") return [];
  const first = edits.filter((each) => each.verb !== "steer").map((each) => kit.writes[layerOf(each.feature)]?.[0] ?? layerOf(each.feature));
  if (!first.length) return [];
  const last = Math.max(...first);
  return Array.from({ length: Math.max(0, kit.n_layers - last) }, (_, i) => last + i);
}
