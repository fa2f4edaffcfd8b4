// Two tabs of one author: a label says what it was begun after, and what was said elsewhere since is told, never lost.
import { afterEach, describe, expect, it, vi } from "vitest";
import { CHANGED } from "../src/i18n/labels";
import { ownLabel, withLabel } from "../src/model/labels";
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
    expect(ownLabel(labels, "ann")!.text).toBe("now");
    expect(ownLabel(labels.slice(3), "ann")).toBeUndefined();
  });

  it("replaces what its author said before, and leaves others alone", () => {
    const after = withLabel([label(2, "theirs", "bob"), label(1, "before")], label(3, "now"));
    expect(after.map((each) => [each.text, each.current, each.replaced])).toEqual([
      ["now", true, false],
      ["theirs", true, false],
      ["before", false, true],
    ]);
  });
});

/** Answers in turn what is asked with POST, and keeps what was sent; any other question is after the card. */
function server(answers: [number, unknown][], found: FeatureView): { text: string; after: number }[] {
  const sent: { text: string; after: number }[] = [];
  vi.stubGlobal("fetch", (_: string, { method, body }: RequestInit) => {
    if (method !== "POST") return Promise.resolve(new Response(JSON.stringify(found)));
    sent.push(JSON.parse(body as string) as { text: string; after: number });
    const [status, value] = answers.shift()!;
    return Promise.resolve(new Response(JSON.stringify(value), { status }));
  });
  return sent;
}

describe("writing a label", () => {
  afterEach(() => void vi.unstubAllGlobals());

  it("says which one it was begun after, tells what is there instead, and goes through behind that", async () => {
    author.value = "ann";
    cards.value = new Map([["L0/1", card([label(4, "old")])]]);
    const theirs = label(5, "theirs");
    const sent = server(
      [
        [409, { error: "elsewhere", newest: theirs }],
        [409, { error: "withdrawn", newest: null }],
        [201, label(6, "mine")],
      ],
      card([label(6, "mine")]),
    );
    const told = await writeLabel("L0/1", " mine ");
    expect(told).toEqual({ author: "ann", newest: theirs });
    const again = await writeLabel("L0/1", "mine", told);
    expect(again).toEqual({ author: "ann", newest: null });
    expect(await writeLabel("L0/1", "mine", again)).toBeNull();
    expect(sent.map((each) => [each.text, each.after])).toEqual([
      ["mine", 4],
      ["mine", 5],
      ["mine", 0],
    ]);
  });

  it("under another name takes nothing from what the first was told", async () => {
    author.value = "bob";
    cards.value = new Map([["L0/1", card([label(7, "ann's")])]]);
    const sent = server([[201, label(8, "bob's", "bob")]], card([]));
    expect(await writeLabel("L0/1", "bob's", { author: "ann", newest: label(7, "ann's") })).toBeNull();
    expect(sent[0]!.after).toBe(0);
  });

  it("is told in both languages with the words of the other tab", () => {
    expect([CHANGED.en.now("x"), CHANGED.ru.now("x")]).toEqual([
      expect.stringContaining("“x”"),
      expect.stringContaining("«x»"),
    ]);
  });
});
