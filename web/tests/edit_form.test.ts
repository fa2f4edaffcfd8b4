// The form of the edit view follows the open graph.
import { afterEach, describe, expect, it, vi } from "vitest";
import {
  addBos,
  addFeature,
  editAddress,
  editGraph,
  edits,
  prompt as editedPrompt,
  runEdits,
  source,
  stale,
} from "../src/state/edit";
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

  describe("of a graph that was traced without what the tokenizer puts in front", () => {
    afterEach(() => vi.unstubAllGlobals());

    it("leaves it out too, in the effect, in both texts and in the address, and keeps other edits apart", async () => {
      const bodies: { kind: string; add_bos: boolean }[] = [];
      vi.stubGlobal("fetch", (_: string, { body }: RequestInit) => {
        if (typeof body === "string") bodies.push(JSON.parse(body) as (typeof bodies)[number]);
        const job = { id: "j", state: "done", result: { kind: "edit", idle: [] } };
        return Promise.resolve(new Response(JSON.stringify(job)));
      });
      class EndedEventSource {
        addEventListener(name: string, listener: (event: unknown) => void): void {
          const job = { id: "j", state: "done", result: { kind: "edit", idle: [] } };
          if (name === "end") queueMicrotask(() => listener({ data: JSON.stringify(job) }));
        }
        close(): void {
          // nothing is open
        }
      }
      vi.stubGlobal("EventSource", EndedEventSource);
      editGraph({ ...view(), prompt: "e f" });
      addFeature("L0/1", "1");
      editGraph({ ...view(), id: "bare", prompt: "e f", add_bos: false });
      expect([addBos.value, edits.value]).toEqual([false, []]);
      expect(editAddress.value).toContain("prompt=e+f&bos=off");
      addFeature("L0/1", "0");
      await runEdits();
      expect(bodies.map((each) => [each.kind, each.add_bos])).toEqual([
        ["edit", false],
        ["generate", false],
      ]);
      expect(stale.value).toBe(false);
      addBos.value = true;
      expect([stale.value, editAddress.value.includes("bos=")]).toEqual([true, false]);
      addBos.value = false;
      editGraph({ ...view(), prompt: "e f" });
      expect(edits.value.map((each) => each.positions)).toEqual(["1"]);
    });
  });
});
