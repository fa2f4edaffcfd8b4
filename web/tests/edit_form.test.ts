// The form of the edit view follows the open graph.
import { describe, expect, it } from "vitest";
import { addFeature, editGraph, edits, prompt as editedPrompt, source } from "../src/state/edit";
import { view } from "./fixtures";

describe("the edit form", () => {
  it("shows the prompt of the graph that was opened, and the edits that were made for it", () => {
    const [first, second] = [view(), { ...view(), id: "h", prompt: "c d" }];
    editGraph(first);
    addFeature("L0/1", "1");
    editGraph(second);
    expect([editedPrompt.value, edits.value, source.value]).toEqual(["c d", [], "h"]);
    addFeature("L1/2");
    editGraph({ ...first, id: "g2" }); // traced again
    expect([editedPrompt.value, edits.value.map((each) => each.feature), source.value]).toEqual([
      "a b",
      ["L0/1"],
      "g2",
    ]);
    editGraph(second);
    expect(edits.value.map((each) => each.feature)).toEqual(["L1/2"]);
  });

  it("offers no audit of another graph beside the prompt of a graph of another model", () => {
    editGraph(view());
    editGraph({ ...view(), id: "foreign", prompt: "e f", of_kit: false });
    expect([editedPrompt.value, source.value]).toEqual(["e f", ""]);
  });
});
