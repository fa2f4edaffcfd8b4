// A removed graph can be restored from the notice of its removal.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { notices } from "../src/state/app";
import { entries, removeGraph, trace } from "../src/state/prompting";
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
    await vi.waitFor(() => expect(place.hash).toBe("#/trace/g"));
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

  const kept = { revision: 3, pins: ["L0/1@1"], groups: [], positions: {}, thresholds: { node: 0.6, edge: 0.9 } };

  /** A fake server on which a trace makes the graph "new"; returns what is put into its arrangement. */
  function tracingServer(graphs: GraphEntry[], arrangement = kept): unknown[] {
    const stored: unknown[] = [];
    vi.stubGlobal("fetch", (address: string, { method, body }: RequestInit) => {
      if (method === "PUT") stored.push([address, JSON.parse(body as string)]);
      if (address.includes("new/arrangement")) return answer({ ...kept, revision: 0, pins: [] });
      if (address.includes("/arrangement")) return answer(arrangement);
      if (address.startsWith("/api/jobs")) return answer({ id: "j", state: "running" });
      return answer({ total: graphs.length, graphs });
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
    return stored;
  }

  it("gives the new graph the pins, groups and thresholds of the latest graph of the prompt", async () => {
    const stored = tracingServer([entry("new"), { ...entry("x"), of_kit: false }, entry("old"), entry("older")]);
    expect(await trace("a b")).toBe("new");
    expect(stored).toEqual([["/api/graphs/new/arrangement", { ...kept, revision: 0 }]]);
    expect(notices.value.map((each) => each.text)).toEqual(["The pins and groups of the earlier trace are kept."]);
  });

  it("leaves it as it is where nothing was done, and takes nothing from another prompt or another model", async () => {
    const others = [entry("new"), { ...entry("x"), of_kit: false }, { ...entry("y"), prompt: "c" }];
    expect([tracingServer(others), await trace("a b")]).toEqual([[], "new"]);
    expect([tracingServer([entry("new"), entry("old")], { ...kept, revision: 0 }), await trace("a b")]).toEqual([
      [],
      "new",
    ]);
  });
});
