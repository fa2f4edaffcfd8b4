// A job is followed to its end, even if its event stream breaks.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { followJob } from "../src/api_client";
import type { Job } from "../src/types";
import { unusedHarvest } from "../src/views/harvest_notice";

type Line = (send: (name: string, data?: unknown) => void) => void;

const job = (state: string) => ({ id: "j", kind: "generate", state, error: null, result: null });
const step = (token_id: number) => ({ default: { token_id }, edited: null });

/** A fake server: the events of each event stream in turn, and the answers to requests for the job. */
function server(lines: Line[], answers: (Response | "gone")[]): void {
  class FakeEventSource {
    private readonly listeners = new Map<string, (event: unknown) => void>();
    constructor() {
      const line = lines.shift() ?? ((send) => send("error"));
      queueMicrotask(() => line((name, data) => this.listeners.get(name)?.({ data: JSON.stringify(data) })));
    }
    addEventListener(name: string, listener: (event: unknown) => void): void {
      this.listeners.set(name, listener);
    }
    close(): void {
      this.listeners.clear();
    }
  }
  vi.stubGlobal("EventSource", FakeEventSource);
  vi.stubGlobal("fetch", () => {
    const answer = answers.shift() ?? "gone";
    return answer === "gone" ? Promise.reject(new TypeError("connection refused")) : Promise.resolve(answer);
  });
}

const answer = (value: unknown, status = 200) => new Response(JSON.stringify(value), { status });

async function followToEnd(tokenIds: number[] = []) {
  const end = followJob("j", { step: ({ default: each }) => tokenIds.push(each!.token_id) }).then(
    (each) => each.state,
    (error: Error) => error.message,
  );
  await vi.runAllTimersAsync();
  return end;
}

describe("following a job", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("goes on over a broken line, and hears no step twice", async () => {
    const first: Line = (send) => (send("step", step(1)), send("step", step(2)), send("error"));
    const second: Line = (send) => (
      send("step", step(1)),
      send("step", step(2)),
      send("step", step(3)),
      send("end", job("done"))
    );
    server([first, second], [answer(job("running"))]);
    const tokenIds: number[] = [];
    expect(await followToEnd(tokenIds)).toBe("done");
    expect(tokenIds).toEqual([1, 2, 3]);
  });

  it("ends with a job that ended while its line was down, also after a server that was away for a moment", async () => {
    server([], ["gone", "gone", answer(job("done"))]);
    expect(await followToEnd()).toBe("done");
    server([], [answer({ ...job("failed"), error: "too long" })]);
    expect(await followToEnd()).toBe("too long");
  });

  it("is given up when the server stays away, or knows the job no more", async () => {
    server([], []);
    expect(await followToEnd()).toContain("the server went away");
    server([], [answer({ error: "there is no job 'j'" }, 404)]);
    expect(await followToEnd()).toContain("knows no such work any more");
  });
});

describe("an atlas that was harvested", () => {
  const harvest = (atlas: string, used: boolean) =>
    ({
      ...job("done"),
      kind: "harvest",
      result: { kind: "harvest", atlas, features: 4, dead: 1, positions: 500, used },
    }) as unknown as Job;
  const other = { ...job("running"), kind: "trace" } as unknown as Job;

  it("is told of when it is the last and not used, whatever was asked since", () => {
    expect(unusedHarvest([other, harvest("b", false), harvest("a", true)])!.atlas).toBe("b");
    expect(unusedHarvest([harvest("b", true), harvest("a", false)])).toBeNull();
    expect(unusedHarvest([other])).toBeNull();
  });
});
