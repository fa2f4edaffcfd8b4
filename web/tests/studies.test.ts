// Settings of a study: what a form holds is sent as the server wants it, and defaults are left to the server.
import { describe, expect, it } from "vitest";
import { chosenSettings, settingOf } from "../src/state/studies";
import type { StudyView } from "../src/types";

const setting = (kind: "integer" | "number" | "text" | "switch", fallback: number | string | boolean | null) => ({
  name: kind,
  kind,
  help: "",
  default: fallback,
  optional: false,
});

describe("a setting", () => {
  it("is left out where it is empty or its default", () => {
    expect(settingOf(setting("integer", 4), undefined)).toBeUndefined();
    expect(settingOf(setting("integer", 4), "")).toBeUndefined();
    expect(settingOf(setting("integer", 4), "4")).toBeUndefined();
  });
  it("is sent with its type", () => {
    expect(settingOf(setting("integer", 4), "5")).toBe(5);
    expect(settingOf(setting("number", 1), "0.5")).toBe(0.5);
    expect(settingOf(setting("text", "world"), "tokens")).toBe("tokens");
    expect(settingOf(setting("switch", false), "true")).toBe(true);
  });
  it("is sent as nothing where it is no such number, so that the server refuses it", () => {
    expect(settingOf(setting("integer", 4), "4.5")).toBeNull();
    expect(settingOf(setting("number", 1), "x")).toBeNull();
  });
});

it("only the settings of the study are taken from an address", () => {
  const study: StudyView = {
    name: "leakage",
    question: "?",
    source: "",
    lacking: "",
    settings: [setting("integer", 4), setting("text", "world")],
  };
  expect(chosenSettings(study, { integer: "6", text: "world", job: "ab" })).toEqual({ integer: 6 });
});
