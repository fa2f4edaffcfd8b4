// State of the page: undo, merges of two tabs, addresses, formats.
import { describe, expect, it } from "vitest";
import {
  EMPTY,
  addSuggested,
  addToGroup,
  group,
  groupOf,
  isArrangement,
  merge,
  move,
  readGroups,
  readMoved,
  carrySelection,
  rename,
  sameArrangement,
  togglePin,
  ungroup,
  writeGroups,
  writeMoved,
} from "../src/model/arrangement";
import { bodyOf, clampable, onlyGenerated, positionsOf, readEdits, writeEdits } from "../src/model/edits";
import { begin, read, record, redo, replace, undo, write as serialize } from "../src/model/undo_history";
import { latinKey } from "../src/model/keyboard_layout";
import { amount, density, tokenParts, percent, points, rowOf, visibleText, signed } from "../src/model/format";
import { type Route, extendTrail, parse, write } from "../src/state/route";
import { alignedColumns } from "../src/views/token_alignment";
import { nextIndex } from "../src/views/menu";

describe("undo", () => {
  it("gives back every state in turn, and forgets what was undone once something new is done", () => {
    let history = begin(0);
    for (const value of [1, 2, 3]) history = record(history, value);
    history = undo(undo(history));
    expect(history.present).toBe(1);
    expect(redo(history).present).toBe(2);
    history = record(history, 9);
    expect(redo(history).present).toBe(9);
    expect(undo(history).present).toBe(1);
  });

  it("does nothing at either end, nor for the same state again", () => {
    const history = begin("a");
    expect(undo(history)).toBe(history);
    expect(redo(history)).toBe(history);
    expect(record(history, "a")).toBe(history);
    expect(undo(replace(record(history, "b"), "c")).present).toBe("a");
  });
});

describe("undo after a reload", () => {
  const pinned = togglePin(EMPTY, "L0/1@0");
  const more = group(pinned, ["L0/2@0"], "one");
  const text = serialize(undo(record(record(begin(EMPTY), pinned), more)));

  it("takes the steps up where the state is the one that they led to", () => {
    const history = read(text, structuredClone(pinned), isArrangement, sameArrangement);
    expect(undo(history).present).toEqual(EMPTY);
    expect(redo(history).present).toEqual(more);
  });

  it("begins anew where another tab went on, or where what is kept is none of ours", () => {
    for (const [stored, present] of [
      [text, more],
      ["", pinned],
      ["[]", pinned],
      ["{", pinned],
      ["null", pinned],
    ] as const) {
      expect(read(stored, present, isArrangement, sameArrangement)).toEqual(begin(present));
    }
    const odd = JSON.stringify({ past: [3], present: pinned, future: [] });
    expect(read(odd, pinned, isArrangement, sameArrangement)).toEqual(begin(pinned));
  });

  it("keeps a bounded number of steps", () => {
    let history = begin(EMPTY);
    for (let i = 0; i < 90; i++) history = record(history, togglePin(history.present, `L0/${i}@0`));
    expect(read(serialize(history), history.present, isArrangement, sameArrangement).past).toHaveLength(40);
  });
});

describe("arranging", () => {
  it("keeps a node in one group only", () => {
    const first = group(EMPTY, ["L0/1@0", "L0/2@0"], "one");
    const second = group(first, ["L0/2@0", "L0/3@0"], "two");
    expect(groupOf(second, "L0/2@0")!.name).toBe("two");
    expect(second.groups.map((each) => each.nodes.length)).toEqual([1, 2]);
    expect(groupOf(addToGroup(second, "g1", ["L0/3@0"]), "L0/3@0")!.id).toBe("g1");
    expect(ungroup(second, "g1").groups.map((each) => each.id)).toEqual(["g2"]);
  });

  it("adopts suggestions only where nothing was grouped by hand", () => {
    const local = group(EMPTY, ["L0/1@0"], "mine");
    const merged = addSuggested(local, [{ id: "s", name: "said", nodes: ["L0/1@0", "L0/2@0", "L0/3@0"] }]);
    expect(groupOf(merged, "L0/1@0")!.name).toBe("mine");
    expect(groupOf(merged, "L0/2@0")!.name).toBe("said");
  });

  it("forgets where a group was dragged to once it is taken apart", () => {
    const moved = move(group(EMPTY, ["L0/1@0", "L0/2@0"], "one"), "L0/1@0", [9, 9]);
    expect(ungroup(moved, "g1").positions).toEqual({});
  });

  it("gives the choice back to a group's nodes when the group is undone, and to the group when that is redone", () => {
    const grouped = group(EMPTY, ["L0/1@0", "L0/2@0"], "one");
    expect(carrySelection(["g1"], grouped, EMPTY)).toEqual(["L0/1@0", "L0/2@0"]);
    expect(carrySelection(["L0/1@0", "L0/2@0", "T@0"], EMPTY, grouped)).toEqual(["g1", "T@0"]);
    expect(carrySelection(["g1", "L0/3@0"], grouped, togglePin(grouped, "L0/3@0"))).toEqual(["g1", "L0/3@0"]);
  });

  it("pins and unpins", () => {
    expect(togglePin(togglePin(EMPTY, "T@1"), "T@1").pins).toEqual([]);
  });

  it("merges what two tabs did, both kept", () => {
    const base = group(togglePin(EMPTY, "L0/1@0"), ["L0/5@0"], "old");
    const local = move(togglePin(togglePin(base, "L0/2@0"), "L0/1@0"), "L0/2@0", [5, 5]);
    const remote = rename(togglePin(base, "L0/3@0"), "g1", "renamed");
    const both = merge(base, local, remote);
    expect([...both.pins].sort()).toEqual(["L0/2@0", "L0/3@0"]);
    expect(both.groups.map((each) => each.name)).toEqual(["renamed"]);
    expect(both.positions["L0/2@0"]).toEqual([5, 5]);
  });

  it("keeps both of two new groups that took the same id", () => {
    const both = merge(EMPTY, group(EMPTY, ["L0/1@0"], "mine"), group(EMPTY, ["L0/2@0"], "theirs"));
    expect(both.groups.map((each) => each.name).sort()).toEqual(["mine", "theirs"]);
    expect(new Set(both.groups.map((each) => each.id)).size).toBe(2);
  });

  it("writes groups into the address and reads the same back", () => {
    const grouped = group(group(EMPTY, ["L0/1@0", "E2@1"], "two | of ~ them"), ["L1/3@1"], "столица");
    const restored = readGroups(writeGroups(grouped.groups));
    expect(restored.map((each) => [each.name, ...each.nodes])).toEqual([
      ["two   of   them", "L0/1@0", "E2@1"],
      ["столица", "L1/3@1"],
    ]);
    expect(readGroups("")).toEqual([]);
  });
});

describe("where marks were dragged to", () => {
  it("is written into the address and read back the same, and what is no place is left out", () => {
    const moved = { "L0/1@0": [30, -10], "E2@1": [-120, 4] } as const;
    expect(writeMoved(moved)).toBe("L0/1@0~30~-10|E2@1~-120~4");
    expect(readMoved(writeMoved(moved))).toEqual(moved);
    expect(readMoved("L0/1@0~x~1|~1~2|L0/2@1~3~4|__proto__~1~1")).toEqual({ "L0/2@1": [3, 4] });
    expect(readMoved("")).toEqual({});
  });
});

describe("the keyboard", () => {
  const press = (key: string, code: string, shiftKey = false) => latinKey({ key, code, shiftKey });

  it("means the letter of the key where another alphabet is written", () => {
    expect([press("д", "KeyL"), press("з", "KeyP"), press("Г", "KeyU", true)]).toEqual(["l", "p", "U"]);
    expect([press(".", "Slash"), press(",", "Slash", true)]).toEqual(["/", "?"]);
  });

  it("means what is written where that is Latin, whatever the layout", () => {
    expect([press("l", "KeyP"), press("-", "Slash"), press("Enter", "Enter"), press(".", "Period")]).toEqual([
      "l",
      "-",
      "Enter",
      ".",
    ]);
  });
});

describe("a menu", () => {
  it("is walked by arrows from its button to its last line and back to the first, and leaves other keys alone", () => {
    expect([
      nextIndex("ArrowDown", -1, 3),
      nextIndex("ArrowDown", 2, 3),
      nextIndex("ArrowUp", 0, 3),
      nextIndex("End", 0, 3),
      nextIndex("Home", 2, 3),
    ]).toEqual([0, 2, 0, 2, 0]);
    expect([nextIndex("ArrowRight", 0, 3), nextIndex("Enter", 0, 3)]).toEqual([null, null]);
  });
});

describe("the way back", () => {
  it("is as long as what this page has shown, and shorter by every step back", () => {
    let trail = ["#/feature/L0/1"];
    trail = extendTrail(extendTrail(trail, "#/features"), "#/trace/a");
    expect(trail).toEqual(["#/feature/L0/1", "#/features", "#/trace/a"]);
    expect(extendTrail(trail, "#/features")).toEqual(["#/feature/L0/1", "#/features"]);
    expect(extendTrail(extendTrail(trail, "#/features"), "#/feature/L0/1")).toEqual(["#/feature/L0/1"]);
    expect(extendTrail(trail, "#/trace/a")).toEqual(trail);
  });
});

describe("the address", () => {
  it("is read back as it was written", () => {
    const routes: Route[] = [
      { view: "trace" as const, id: "abc", query: { node: "0.8", sel: "L3/1207@4", groups: "a b~L0/1@2|в&=?#~E1@1" } },
      { view: "feature" as const, id: "L3/1207", query: { at: "1.5" } },
      {
        view: "edit" as const,
        id: "",
        query: { prompt: "100% of “it” + more & so?", edits: "scale L3/1207@4=2;ablate L2/9@all" },
      },
      { view: "compare" as const, id: "", query: {} },
    ];
    for (const route of routes) expect(parse(write(route))).toEqual(route);
  });

  it("takes anything for an address and never fails", () => {
    for (const hash of ["", "#", "#/", "#/nowhere/x?y", "#/trace/%E0%A4%A?node=%", "#a=b"])
      expect(parse(hash).view).toBeTypeOf("string");
    expect(write(parse("#/trace/abc?sel=L3/1207@4"))).toBe("#/trace/abc?sel=L3/1207@4");
  });
});

describe("edits", () => {
  it("are written into the address and read back the same", () => {
    const edits = [
      { verb: "scale" as const, feature: "L3/1207", strength: -2.5, positions: "4" },
      { verb: "ablate" as const, feature: "L0/1", strength: 0, positions: "all" },
      { verb: "steer" as const, feature: "L2/9", strength: 3, positions: "2,5" },
    ];
    expect(readEdits(writeEdits(edits))).toEqual(edits);
    expect(readEdits("nonsense;scale x@1=2")).toEqual([]);
  });

  it("become what the server takes", () => {
    expect(bodyOf({ verb: "set", feature: "L1/2", strength: 3, positions: "4,2" })).toMatchObject({
      positions: [4, 2],
      strength: 3,
    });
    expect(bodyOf({ verb: "ablate", feature: "L1/2", strength: 3, positions: "generated" })).toMatchObject({
      positions: "generated",
      strength: 0,
    });
  });

  it("are refused at positions that say none, never done somewhere else", () => {
    for (const text of ["abc", "4,x", "4,", ",", "-1", "1.5", ""]) {
      expect(positionsOf(text)).toBeNull();
      expect(() => bodyOf({ verb: "ablate", feature: "L1/2", strength: 0, positions: text })).toThrow("is no position");
    }
    expect(positionsOf("4,0,12")).toEqual([4, 0, 12]);
    expect(readEdits("ablate L1/2@4,x")[0]!.positions).toBe("4,x");
  });

  it("know when none of them acts on the prompt", () => {
    const edit = (positions: string) => ({ verb: "ablate" as const, feature: "L1/2", strength: 0, positions });
    expect([
      onlyGenerated([edit("generated")]),
      onlyGenerated([edit("generated"), edit("4")]),
      onlyGenerated([edit("all")]),
    ]).toEqual([true, false, false]);
  });
});

describe("the last clamped layer", () => {
  const edit = (feature: string, verb: "ablate" | "steer" = "ablate") => ({
    verb,
    feature,
    strength: 0,
    positions: "all",
  });
  const kit = { dictionary_kind: "clt", n_layers: 4, writes: { 0: [0, 1, 2, 3], 1: [2, 3], 2: [2, 3] } };

  it("can be any from the first that every edited feature has written to", () => {
    expect(clampable([edit("L0/1")], kit)).toEqual([0, 1, 2, 3]);
    expect(clampable([edit("L0/1"), edit("L1/9")], kit)).toEqual([2, 3]);
  });

  it("is none where nothing is clamped", () => {
    expect(clampable([edit("L0/1", "steer")], kit)).toEqual([]);
    expect(clampable([edit("L0/1")], { ...kit, dictionary_kind: "sae" })).toEqual([]);
    expect(clampable([edit("L0/1"), edit("L2/9", "steer")], kit)).toEqual([0, 1, 2, 3]);
  });
});

describe("writing", () => {
  it("shows leading spaces and line breaks of tokens", () => {
    expect([" Paris", "a b", "\n", "", "  x "].map(visibleText)).toEqual(["·Paris", "a b", "⏎", "∅", "··x·"]);
    expect(tokenParts(" Paris")).toEqual([
      { text: "·", space: true },
      { text: "Paris", space: false },
    ]);
    expect(tokenParts("·x")).toEqual([{ text: "·x", space: false }]);
  });

  it("shows a character that tokens share once in a row, with a faint sign at its other tokens", () => {
    const tokens = ["caf", "<0xC3>", "<0xA9>"];
    expect(rowOf({ tokens, shown: ["caf", "", "é"] })).toEqual(["caf", "", "é"]);
    expect(rowOf({ tokens, shown: null })).toEqual(tokens);
    expect(tokenParts("")).toEqual([{ text: "∅", space: true }]);
  });

  it("writes numbers with a true minus and as many digits as help", () => {
    expect([0.5, 0.00001, -0.1234, 1, null].map(percent)).toEqual(["50.0 %", "<0.1 %", "−12.3 %", "100 %", "–"]);
    expect([0.5, -0.003, 0.0001, -0.0001, 0].map(points)).toEqual([
      "+50.0 pp",
      "−0.3 pp",
      "<0.1 pp",
      "<0.1 pp",
      "0 pp",
    ]);
    expect([1.234, -12.34, 123.4, 0.0001, null].map(amount)).toEqual(["1.23", "−12.3", "123", "1.0e−4", "–"]);
    expect([2, -2, 0].map(signed)).toEqual(["+2.00", "−2.00", "0.000"]);
    expect([0, 0.02, 0.0005, 0.00003].map(density)).toEqual(["0 %", "2.0 %", "0.05 %", "3·10⁻³ %"]);
  });
});

describe("comparing", () => {
  it("gives aligned tokens one column and every other token its own", () => {
    expect(
      alignedColumns(3, 2, [
        [0, 0],
        [2, 1],
      ]),
    ).toEqual([
      [0, 0],
      [1, null],
      [2, 1],
    ]);
    expect(alignedColumns(1, 2, [])).toEqual([
      [0, null],
      [null, 0],
      [null, 1],
    ]);
  });
});
