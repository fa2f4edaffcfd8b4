// A removed graph can be restored from the notice of its removal.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { notices } from "../src/state/app";
import { addBos, entries, removeGraph, targetsOf, tokenization, trace, typePrompt } from "../src/state/prompting";
import { graphId } from "../src/state/trace";
import type { GraphEntry } from "../src/types";

const entry = (id: string): GraphEntry => ({
  id,
  date: "",
  origin: "trace",
  prompt: "a b",
  tokens: ["a", " b"],
  top: null,
  n_nodes: 8,
  scores: { replacement: 1, completeness: 1 },
  subject: "s",
  dictionary: "d",
  of_kit: true,
  add_bos: true,
});

const answer = (value: unknown, status = 200) => Promise.resolve(new Response(JSON.stringify(value), { status }));

/** A fake server with two graphs; returns the requests it receives. With `forgets` it cannot restore a graph. */
function server(forgets = false): string[] {
  const [stored, requests] = [new Set(["g", "h"]), [] as string[]];
  vi.stubGlobal("fetch", (address: string, { method }: RequestInit) => {
    requests.push(`${method} ${address}`);
    if (method === "DELETE") stored.delete("g");
    if (method === "POST" && forgets) return answer({ error: "nothing to bring back" }, 404);
    if (method === "POST") stored.add("g");
    return answer(method === "GET" ? { total: stored.size, graphs: [...stored].map(entry) } : entry("g"));
  });
  return requests;
}

const ids = () => entries.value.map((each) => each.id);

describe("removing a graph", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
    notices.value = [];
    graphId.value = "";
  });

  it("offers to bring it back, for longer than other notices stay", async () => {
    const requests = server();
    await removeGraph(entry("g"));
    expect(ids()).toEqual(["h"]);
    vi.advanceTimersByTime(15_000);
    const [notice] = notices.value;
    expect([notice!.text, notice!.action!.name]).toEqual(["The graph of “a b” is removed.", "Undo"]);
    notice!.action!.run();
    await vi.waitFor(() => expect(ids()).toEqual(["h", "g"]));
    expect(requests).toContain("POST /api/graphs/g/restore");
  });

  it("leads to the start if it was open, and back to it, unless another is open by then", async () => {
    const place = { hash: "#/trace/g" };
    vi.stubGlobal("location", place);
    graphId.value = "g";
    server();
    await removeGraph(entry("g"));
    expect(place.hash).toBe("#/trace");
    graphId.value = "h";
    notices.value[0]!.action!.run();
    await vi.waitFor(() => expect(ids()).toEqual(["h", "g"]));
    expect(place.hash).toBe("#/trace");
    graphId.value = "";
    notices.value[0]!.action!.run();
    await vi.waitFor(() => expect(place.hash).toBe("#/trace/g?pane=explanation")); // as it was seen
  });

  it("says why it cannot be brought back", async () => {
    server(true);
    await removeGraph(entry("g"));
    notices.value[0]!.action!.run();
    await vi.waitFor(() => expect(notices.value.at(-1)!.text).toBe("nothing to bring back"));
    expect(ids()).toEqual(["h"]);
  });
});

describe("tracing a prompt again", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    notices.value = [];
    entries.value = [];
  });

  /** A fake server on which a trace makes the graph "new" with these pins; returns the bodies it receives. */
  function tracingServer(pins: string[]): unknown[] {
    const bodies: unknown[] = [];
    vi.stubGlobal("fetch", (address: string, { body }: RequestInit) => {
      if (typeof body === "string") bodies.push(JSON.parse(body));
      const thresholds = { node: 0.6, edge: 0.9 };
      if (address.includes("new/arrangement"))
        return answer({ revision: 0, pins, groups: [], positions: {}, thresholds });
      if (address.startsWith("/api/jobs")) return answer({ id: "j", state: "running" });
      return answer({ total: 1, graphs: [entry("new")] });
    });
    class EndedEventSource {
      addEventListener(name: string, listener: (event: unknown) => void): void {
        const job = { id: "j", kind: "trace", state: "done", result: { kind: "trace", graph: "new" } };
        if (name === "end") queueMicrotask(() => listener({ data: JSON.stringify(job) }));
      }
      close(): void {
        // nothing is open
      }
    }
    vi.stubGlobal("EventSource", EndedEventSource);
    return bodies;
  }

  it("says that the pins and groups of the earlier graph are kept where there are some", async () => {
    tracingServer([]);
    expect(await trace("a b")).toBe("new");
    expect(notices.value).toEqual([]);
    tracingServer(["L0/1@1"]);
    expect(await trace("a b")).toBe("new");
    expect(notices.value.map((each) => each.text)).toEqual(["The pins and groups of the earlier trace are kept."]);
  });

  it("begins the text with what the tokenizer puts there unless that is turned off", async () => {
    const bodies = tracingServer([]);
    await trace("a b");
    await trace("a b", false);
    const rest = { kind: "trace", prompt: "a b", max_features: null, targets: null, position: -1 };
    expect(bodies).toEqual([true, false].map((add_bos) => ({ ...rest, add_bos })));
  });

  it("explains the targets and the position that are asked for", async () => {
    const bodies = tracingServer([]);
    await trace("a b", true, { targets: ["b - c", "d"], position: 0 });
    expect(bodies).toMatchObject([{ targets: ["b - c", "d"], position: 0 }]);
  });
});

describe("the tokens of a prompt that is typed", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
    [addBos.value, tokenization.value] = [true, null];
  });

  it("are those without the start once that is turned off, also of the text that is typed next", async () => {
    const bodies: unknown[] = [];
    vi.stubGlobal("fetch", (_: string, { body }: RequestInit) => {
      bodies.push(JSON.parse(body as string));
      return answer({ tokens: [], shown: null, first_position: 0 });
    });
    const texts: [string, boolean?][] = [["a"], ["a", false], ["a b"], ["c", true]];
    for (const [text, withBos] of texts) {
      typePrompt(text, withBos);
      await vi.advanceTimersByTimeAsync(200);
    }
    expect(bodies).toEqual([
      { prompt: "a", add_bos: true },
      { prompt: "a", add_bos: false },
      { prompt: "a b", add_bos: false },
      { prompt: "c", add_bos: true },
    ]);
    expect(tokenization.value?.first_position).toBe(0);
  });
});

describe("the targets in a text", () => {
  it("are divided at commas, and a comma alone is one", () => {
    const [none, two, difference, comma] = ["  ", "Paris, Rome", "Paris - Rome", ","].map(targetsOf);
    expect([none, two, difference, comma]).toEqual([[], ["Paris", "Rome"], ["Paris - Rome"], [","]]);
  });
});
