// Two tabs of one author: a label names the one it replaces, and a change in the other tab is shown, never overwritten.
import { afterEach, describe, expect, it, vi } from "vitest";
import { en } from "../src/i18n/labels";
import { ru } from "../src/i18n/labels_ru";
import { currentLabelOf, withLabel } from "../src/model/labels";
import { author } from "../src/state/app";
import { cards, writeLabel } from "../src/state/cards";
import type { FeatureView, LabelView } from "../src/types";

const label = (id: number, text: string, by = "ann", more: Partial<LabelView> = {}): LabelView => ({
  id,
  feature: "L0/1",
  text,
  kind: "person",
  author: by,
  method: "",
  note: "",
  date: "",
  current: true,
  replaced: false,
  scores: [],
  ...more,
});

const card = (labels: LabelView[]): FeatureView => ({
  feature: "L0/1",
  name: "",
  name_kind: "",
  reads: 0,
  writes: [],
  card: null,
  labels,
});

describe("a person's own label", () => {
  it("is their current one: no earlier one, nobody else's, no model's", () => {
    const labels = [
      label(4, "by another", "bob"),
      label(3, "by a model", "ann", { kind: "model" }),
      label(2, "now"),
      label(1, "before", "ann", { current: false, replaced: true }),
    ];
    expect(currentLabelOf(labels, "ann")!.text).toBe("now");
    expect(currentLabelOf(labels.slice(3), "ann")).toBeUndefined();
  });

  it("replaces what its author said before, and leaves others alone", () => {
    const labels = withLabel([label(2, "theirs", "bob"), label(1, "before")], label(3, "now"));
    expect(labels.map((each) => [each.text, each.current, each.replaced])).toEqual([
      ["now", true, false],
      ["theirs", true, false],
      ["before", false, true],
    ]);
  });
});

/** A fake server: answers POST requests in turn, any other with the card, and returns the bodies it receives. */
function server(answers: [number, unknown][], view: FeatureView): { text: string; after: number }[] {
  const bodies: { text: string; after: number }[] = [];
  vi.stubGlobal("fetch", (_: string, { method, body }: RequestInit) => {
    if (method !== "POST") return Promise.resolve(new Response(JSON.stringify(view)));
    bodies.push(JSON.parse(body as string) as { text: string; after: number });
    const [status, value] = answers.shift()!;
    return Promise.resolve(new Response(JSON.stringify(value), { status }));
  });
  return bodies;
}

describe("writing a label", () => {
  afterEach(() => void vi.unstubAllGlobals());

  it("says which one it was begun after, tells what is there instead, and goes through behind that", async () => {
    author.value = "ann";
    cards.value = new Map([["L0/1", card([label(4, "old")])]]);
    const newest = label(5, "theirs");
    const bodies = server(
      [
        [409, { error: "elsewhere", newest }],
        [409, { error: "withdrawn", newest: null }],
        [201, label(6, "mine")],
      ],
      card([label(6, "mine")]),
    );
    const change = await writeLabel("L0/1", " mine ");
    expect(change).toEqual({ author: "ann", newest });
    const unsaved = await writeLabel("L0/1", "mine", change);
    expect(unsaved).toEqual({ author: "ann", newest: null });
    expect(await writeLabel("L0/1", "mine", unsaved)).toBeNull();
    expect(bodies.map((each) => [each.text, each.after])).toEqual([
      ["mine", 4],
      ["mine", 5],
      ["mine", 0],
    ]);
  });

  it("under another name takes nothing from what the first was told", async () => {
    author.value = "bob";
    cards.value = new Map([["L0/1", card([label(7, "ann's")])]]);
    const bodies = server([[201, label(8, "bob's", "bob")]], card([]));
    expect(await writeLabel("L0/1", "bob's", { author: "ann", newest: label(7, "ann's") })).toBeNull();
    expect(bodies[0]!.after).toBe(0);
  });

  it("is told in both languages with the words of the other tab", () => {
    expect([en.now("x"), ru.now("x")]).toEqual([expect.stringContaining("“x”"), expect.stringContaining("«x»")]);
  });
});
