// An exported page is imported by the graph that it carries; every other file is sent as it is.
import { describe, expect, it } from "vitest";
import { graphFile } from "../src/model/graph_file";

const GRAPH = '{"metadata": {"prompt": "Grüße, 世界 <b>"}, "nodes": []}';
const packed = await pack(GRAPH);

/** Text as the server packs it: gzip in base64. */
async function pack(text: string): Promise<string> {
  const bytes = await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
  return btoa(String.fromCharCode(...new Uint8Array(bytes)));
}

function page(data: string, head = "<!doctype html>\n<html>"): File {
  return new File([`${head}<script type="application/json" id="clew-data">${data}</script>`], "France is.html");
}

describe("the file to import", () => {
  it("is the graph JSON that an exported page carries, letter by letter", async () => {
    const file = await graphFile(page(JSON.stringify({ title: "t", source: packed })));
    expect([file.name, file.type]).toEqual(["France is.json", "application/json"]);
    expect(await file.text()).toBe(GRAPH);
  });

  it("is known by what it holds, whatever its name and its first bytes", async () => {
    const bom = new File(["\uFEFF  <!DOCTYPE html>", await page(JSON.stringify({ source: packed })).text()], "a.json");
    expect(await (await graphFile(bom)).text()).toBe(GRAPH);
  });

  it("is any other file itself, also a page that carries no graph JSON", async () => {
    const files = [GRAPH, "\x08\0\0\0<binary", ""].map((content) => new File([content], "g.html"));
    for (const file of [...files, page("{}"), page('{"source": null}')]) expect(await graphFile(file)).toBe(file);
  });

  it("is refused with its reason when the page holds no graph or a damaged one", async () => {
    const reasons = [
      ['{"source": "', /is damaged: its data are no whole JSON/],
      [JSON.stringify({ source: packed.slice(0, 40) }), /is damaged: its graph cannot be unpacked/],
      [JSON.stringify({ source: "§" }), /is damaged: its graph cannot be unpacked/],
    ] as const;
    for (const [data, reason] of reasons) await expect(graphFile(page(data))).rejects.toThrow(reason);
    await expect(graphFile(new File(["<html>hello"], "x.html"))).rejects.toThrow(/none that Clew exported/);
  });
});
