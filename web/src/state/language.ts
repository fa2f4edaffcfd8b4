// The language of the page: that of the address, else the one chosen last in this browser, else the browser's own.
import { computed, effect, signal } from "@preact/signals";
import { recall, remember } from "./browser_storage";
import { adjust, route } from "./route";

export const LANGUAGES = { en: "English", ru: "Русский" } as const;
export type Language = keyof typeof LANGUAGES;

const first: Language = typeof navigator !== "undefined" && navigator.language.startsWith("ru") ? "ru" : "en";
const chosen = signal(recall("clew.language"));

const isLanguage = (text: string | undefined): text is Language => text !== undefined && text in LANGUAGES;

export const language = computed<Language>(() => {
  const linked = route.value.query["lang"];
  return isLanguage(linked) ? linked : isLanguage(chosen.value) ? chosen.value : first;
});

export function setLanguage(next: Language): void {
  chosen.value = next;
  remember("clew.language", next);
  if (route.peek().query["lang"]) adjust({ lang: next });
}

if (typeof document !== "undefined") {
  effect(() => {
    document.documentElement.lang = language.value;
  });
}
