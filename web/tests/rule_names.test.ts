import { afterEach, describe, expect, it, vi } from "vitest";
import { ruleNameInRussian } from "../src/i18n/rule_names_ru";

describe("names by rule in Russian", () => {
  it.each([
    ['the token "is"', 'токен "is"'],
    ['"is" after "how long"', '"is" после "how long"'],
    ['a number with "plus" before', 'число, раньше: "plus"'],
    ['the start of "Morris"', 'начало "Morris"'],
    ["says a capital", "говорит: столица"],
    ['"of", says a country', '"of", говорит: страна'],
    ['a number soon after "plus" or "minus"', 'число вскоре после "plus" или "minus"'],
    ["after a country or a Russian adjective", "после страны или русского прилагательного"],
    ["soon before a girl's name", "незадолго до женского имени"],
    ["before an animal", "прямо до животного"],
    ["inside a capitalised word", "внутри слова с заглавной буквы"],
    ["the first token of a text", "первый токен текста"],
    ["token 3 of a text", "токен 3 текста"],
    ["a repeated word", "повторённое слово"],
    ['the token "say \\"or\\""', 'токен "say \\"or\\""'],
    ['says "Paris", writes Rome', 'говорит: "Paris", пишет Rome'],
    ["promotes Paris · Rome", "продвигает Paris · Rome"],
  ])("%s", (english, russian) => expect(ruleNameInRussian(english)).toBe(russian));

  it.each(["capital of France, before the answer", "a country-western song", 'after "is', "says Paris", ""])(
    "another's words stay: %s",
    (name) => expect(ruleNameInRussian(name)).toBe(name),
  );
});

describe("names in the language of the page", () => {
  afterEach(() => {
    vi.doUnmock("../src/state/language");
    vi.resetModules();
  });

  it("rules speak Russian, before and after a label was withdrawn; people's labels stay", async () => {
    vi.resetModules();
    vi.doMock("../src/state/language", async (original) => ({
      ...(await original<typeof import("../src/state/language")>()),
      russian: { value: await import("../src/i18n/in_russian") },
    }));
    const { nameAt, nameOf, rename } = await import("../src/state/app");
    expect(nameOf("L0/1", "says a capital", "heuristic").text).toBe("говорит: столица");
    expect(nameAt("L0/1", "after a number", "heuristic", "says a capital").text).toBe("говорит: столица");
    expect(nameOf("L0/1", "says a capital", "person").text).toBe("says a capital");
    rename("L0/1", { text: "after a number", kind: "heuristic" });
    expect(nameOf("L0/1", "capitals", "person").text).toBe("после числа");
  });
});
