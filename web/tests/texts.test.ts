// The texts of the interface: both languages have the same ones, with the same values in them, and all are used.
/// <reference types="vite/client" />
import { describe, expect, it } from "vitest";
import { RUSSIAN } from "../src/i18n/russian";
import { fill, russianForm } from "../src/i18n/text";
import { en } from "../src/i18n/guide_en";
import { ru } from "../src/i18n/guide_ru";
import * as explanations from "../src/i18n/explanations";
import * as explanationsInRussian from "../src/i18n/explanations_ru";

const values = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

const code = Object.entries(
  import.meta.glob<string>("../src/**/*.{ts,tsx}", {
    query: "?raw",
    import: "default",
    eager: true,
  }),
)
  .filter(([path]) => !path.includes("/i18n/"))
  .map(([, text]) => text.replaceAll('\\"', '"'))
  .join("\n");

/** The names of all texts in a table of texts, at any depth. */
function names(table: object, path = ""): string[] {
  return Object.entries(table).flatMap(([name, value]) =>
    typeof value === "object" && value !== null ? names(value as object, `${path}${name}.`) : [`${path}${name}`],
  );
}

describe("the interface in Russian", () => {
  const pairs = Object.entries(RUSSIAN);

  it("says every text in Russian, with the values of the English one", () => {
    const other = pairs.filter(([english, russian]) => String(values(english)) !== String(values(russian)));
    expect(other).toEqual([]);
    const latin = pairs.filter(([english, russian]) => /[A-Za-z]{3}/.test(english) && !/[А-Яа-яё]/.test(russian));
    expect(latin.map(([english]) => english)).toEqual([]);
  });

  it("has three forms of every count, where English has two or three", () => {
    const counts = pairs.filter(([english]) => english.includes("|"));
    expect(counts.length).toBeGreaterThan(10);
    for (const [english, russian] of counts) expect([english, russian.split("|").length]).toEqual([english, 3]);
    expect([1, 2, 5, 11, 12, 21, 22, 25, 111].map(russianForm)).toEqual([0, 1, 2, 2, 2, 0, 1, 2, 2]);
  });

  it("has no text that nothing shows", () => {
    const unused = pairs.map(([english]) => english).filter((english) => !code.includes(english));
    expect(unused).toEqual([]);
  });

  it("has the same texts as English in the guide and in the explanations of edges and heads", () => {
    expect(names(ru)).toEqual(names(en));
    expect(names(explanationsInRussian.ru)).toEqual(names(explanations.en));
  });

  it("fills values in by their names, and leaves what has none", () => {
    expect(fill("{n} of {all}", { n: 3, all: "$&" })).toBe("3 of $&");
    expect(fill("{n} of {all}", { n: 3 })).toBe("3 of {all}");
  });
});
