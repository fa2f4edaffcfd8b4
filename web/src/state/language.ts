// The language of the page: that of the address, else the one chosen last in this browser, else the browser's own. The
// Russian texts are fetched when they are first wanted; until they are here the page stays English.
import { computed, effect, signal } from "@preact/signals";
import { recall, remember } from "./browser_storage";
import { adjust, route } from "./route";

export const LANGUAGES = { en: "English", ru: "Русский" } as const;
export type Language = keyof typeof LANGUAGES;
type RussianTexts = typeof import("../i18n/in_russian");

const ofBrowser: Language = typeof navigator !== "undefined" && navigator.language.startsWith("ru") ? "ru" : "en";
const chosen = signal(recall("clew.language"));
const texts = signal<RussianTexts | null>(null);

const isLanguage = (text: string | undefined): text is Language => text !== undefined && text in LANGUAGES;

const wanted = computed<Language>(() => {
  const linked = route.value.query["lang"];
  return isLanguage(linked) ? linked : isLanguage(chosen.value) ? chosen.value : ofBrowser;
});

/** The Russian texts where the page is shown in Russian, else null. */
export const russian = computed(() => (wanted.value === "ru" ? texts.value : null));
export const language = computed<Language>(() => (russian.value ? "ru" : "en"));

export function setLanguage(next: Language): void {
  chosen.value = next;
  remember("clew.language", next);
  if (route.peek().query["lang"]) adjust({ lang: next });
}

/** Fetches the texts of the language that is wanted, now and whenever it changes; resolves with those of now. */
export function followLanguage(failed: () => void): Promise<void> {
  let coming = Promise.resolve();
  effect(() => {
    if (wanted.value !== "ru" || texts.peek()) return;
    coming = import("../i18n/in_russian").then((module) => void (texts.value = module), failed);
  });
  return coming;
}

if (typeof document !== "undefined") {
  effect(() => {
    document.documentElement.lang = language.value;
  });
}
