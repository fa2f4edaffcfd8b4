// A file to import. An exported page carries its graph as packed graph JSON in its data; other files are sent as they
// are, also pages without it (of an older Clew, or too large), of which the server reads what they show.
import { counted, t } from "../i18n/text";

// The data of a page hold no "<", and this line stands in exported pages: it must not look like the start of a script.
const DATA = /type="application\/json" id="clew-data">([^<]*)</;

/** The file to send to the server for a file that the person chose. An error says why there is none. */
export async function graphFile(file: File): Promise<File> {
  if (!(await isPage(file))) return file;
  const data = DATA.exec(await file.text())?.[1];
  if (data === undefined) throw new Error(t("{a} is a web page, but none that Clew exported", { a: file.name }));
  const { source } = parsed(file.name, data);
  if (!source) return file;
  const name = file.name.replace(/\.[^.]*$/, "") + ".json";
  return new File([await unpacked(file.name, source)], name, { type: "application/json" });
}

/** Whether a file is HTML, whatever its name says. */
async function isPage(file: File): Promise<boolean> {
  return /^\uFEFF?\s*<(!doctype|html)/i.test(await file.slice(0, 200).text());
}

function parsed(name: string, data: string): { source?: string | null } {
  try {
    return JSON.parse(data) as { source?: string | null };
  } catch {
    throw new Error(
      t("{a} is damaged: its data are no whole JSON ({b})", {
        a: name,
        b: counted(data.length, "character|characters"),
      }),
    );
  }
}

async function unpacked(name: string, source: string): Promise<Blob> {
  try {
    const packed = Uint8Array.from(atob(source), (letter) => letter.charCodeAt(0));
    const text = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(text).blob();
  } catch {
    throw new Error(t("{a} is damaged: its graph cannot be unpacked", { a: name }));
  }
}
