// A job is followed to its end, whatever happens to the line on which it is told.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { follow } from "../src/api_client";
import type { Job } from "../src/types";
import { unused } from "../src/views/harvest_notice";

type Line = (tell: (name: string, data?: unknown) => void) => void;

const job = (state: string) => ({ id: "j", kind: "generate", state, error: null, result: null });
const step = (token_id: number) => ({ default: { token_id }, edited: null });

/** What each line tells in turn, and what the server answers when it is asked after the job. */
function server(lines: Line[], answers: (Response | "gone")[]): void {
  class Told {
    private readonly hears = new Map<string, (event: unknown) => void>();
    constructor() {
      const line = lines.shift() ?? ((tell) => tell("error"));
      queueMicrotask(() => line((name, data) => this.hears.get(name)?.({ data: JSON.stringify(data) })));
    }
    addEventListener(name: string, hear: (event: unknown) => void): void {
      this.hears.set(name, hear);
    }
    close(): void {
      this.hears.clear();
    }
  }
  vi.stubGlobal("EventSource", Told);
  vi.stubGlobal("fetch", () => {
    const answer = answers.shift() ?? "gone";
    return answer === "gone" ? Promise.reject(new TypeError("connection refused")) : Promise.resolve(answer);
  });
}

const answer = (value: unknown, status = 200) => new Response(JSON.stringify(value), { status });

async function followed(heard: number[] = []) {
  const end = follow("j", { step: ({ default: each }) => heard.push(each!.token_id) }).then(
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
    const first: Line = (tell) => (tell("step", step(1)), tell("step", step(2)), tell("error"));
    const second: Line = (tell) => (
      tell("step", step(1)),
      tell("step", step(2)),
      tell("step", step(3)),
      tell("end", job("done"))
    );
    server([first, second], [answer(job("running"))]);
    const heard: number[] = [];
    expect(await followed(heard)).toBe("done");
    expect(heard).toEqual([1, 2, 3]);
  });

  it("ends with a job that ended while its line was down, also after a server that was away for a moment", async () => {
    server([], ["gone", "gone", answer(job("done"))]);
    expect(await followed()).toBe("done");
    server([], [answer({ ...job("failed"), error: "too long" })]);
    expect(await followed()).toBe("too long");
  });

  it("is given up when the server stays away, or knows the job no more", async () => {
    server([], []);
    expect(await followed()).toContain("the server went away");
    server([], [answer({ error: "there is no job 'j'" }, 404)]);
    expect(await followed()).toContain("knows no such work any more");
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
    expect(unused([other, harvest("b", false), harvest("a", true)])!.atlas).toBe("b");
    expect(unused([harvest("b", true), harvest("a", false)])).toBeNull();
    expect(unused([other])).toBeNull();
  });
});
