// State that all views share: the kit, the theme, notices, names of features, and whether there is a server.
import { t } from "../i18n/text";
import { computed, effect, signal } from "@preact/signals";
import { api } from "../api_client";
import type { Embedded, NameKind, Workbench } from "../types";
import { recall, remember } from "./browser_storage";
import { russian } from "./language";
import { adjust, route } from "./route";

export { recall, remember };

export interface Notice {
  id: number;
  text: string;
  kind: "say" | "fail";
  /** A button in the notice, such as Undo. */
  action: { name: string; run: () => void } | null;
}

const NOTICE_TIMES = { say: 4000, fail: 9000 }; // milliseconds
const ACTION_NOTICE_TIME = 20_000;

function readEmbedded(): Embedded | null {
  const text = typeof document === "undefined" ? null : document.getElementById("clew-data")?.textContent;
  return text ? (JSON.parse(text) as Embedded) : null;
}

/** The data of a self-contained file; null where a server answers. */
export const embedded = readEmbedded();
export const workbench = signal<Workbench | null>(null);
/** What stands in front of every text unless that is turned off; empty where the tokenizer puts nothing there. */
export const textStart = computed(() => (workbench.value?.kit.start ?? []).join(""));
export const notices = signal<readonly Notice[]>([]);
export const helpOpen = signal(false);
/** Why a key that leads to a text field led to none, while a dialog says so. What is typed meanwhile, for the field that
 *  is not there, is no command. */
export const refusal = signal<string | null>(null);
/** Whether a label editor is on its way: what is typed until it is there is no command. */
export const opening = signal(false);

export function refuse(reason: string): void {
  refusal.value = `${reason} ${t("What you type here is not taken as commands.")}`;
}
/** Text announced to screen readers only. */
export const announcement = signal("");

let lastNoticeId = 0;
export function notify(text: string, kind: Notice["kind"] = "say", action: Notice["action"] = null): void {
  const id = ++lastNoticeId;
  notices.value = [...notices.value.slice(-2), { id, text, kind, action }];
  setTimeout(() => dismiss(id), action ? ACTION_NOTICE_TIME : NOTICE_TIMES[kind]);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((each) => each.id !== id);
}

/** Runs a request; shows a failure as a notice and returns null. A request that was aborted fails silently. */
export async function attempt<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return null;
    notify(error instanceof Error ? error.message : String(error), "fail");
    return null;
  }
}

// --- names of features: a label written on this page replaces the name in every view ---------------------------------

export interface NamedAs {
  text: string;
  kind: NameKind;
}

export const names = signal<ReadonlyMap<string, NamedAs>>(new Map());

export function rename(feature: string, named: NamedAs): void {
  names.value = new Map(names.value).set(feature, named);
}

/** The name to show: the label written since the view was made, else the view's. */
export function nameOf(feature: string, label: string | null | undefined, kind: NameKind | null | undefined): NamedAs {
  const named = names.value.get(feature) ?? { text: label ?? "", kind: kind ?? "" };
  return { ...named, text: worded(named.text, named.kind) };
}

/** A name by rule in the language of the page; what people and models wrote stays as they wrote it. */
function worded(name: string, kind: NameKind): string {
  return kind === "heuristic" || kind === "promoted" ? (russian.value?.ruleNameInRussian(name) ?? name) : name;
}

/** A feature's name at a place of a prompt: what it does here first, and what else is to be said of its name. */
export interface NamedHere extends NamedAs {
  note: string;
}

/** As `nameOf`; `here` is the view's name at the place, which gives way to a label that is written on this page. */
export function nameAt(
  feature: string,
  label: string | null | undefined,
  kind: NameKind | null | undefined,
  here: string | null | undefined,
): NamedHere {
  const general = nameOf(feature, label, kind);
  if (here === null || here === undefined || names.value.has(feature)) return { ...general, note: "" };
  if (!here) return { ...general, note: t("here for another reason") };
  return {
    text: worded(here, "heuristic"),
    kind: "heuristic",
    note: general.text && t("in general: {a}", { a: general.text }),
  };
}

// --- theme ------------------------------------------------------------------------------------------------------------

const prefersDark = typeof matchMedia === "undefined" ? null : matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(prefersDark?.matches ?? false);
prefersDark?.addEventListener("change", (event) => (systemDark.value = event.matches));
const storedTheme = signal(recall("clew.theme"));

export const dark = computed(() => {
  const theme = route.value.query["theme"] ?? storedTheme.value;
  return theme === "dark" || (theme !== "light" && systemDark.value);
});

export function switchTheme(): void {
  const next = dark.value ? "light" : "dark";
  storedTheme.value = next;
  remember("clew.theme", next);
  if (route.peek().query["theme"]) adjust({ theme: next });
}

export const author = signal(recall("clew.author"));

export async function openWorkbench(): Promise<void> {
  if (embedded) return;
  workbench.value = await attempt(api.workbench);
  if (!author.value && workbench.value) author.value = workbench.value.author;
}

if (typeof document !== "undefined") {
  effect(() => {
    document.documentElement.dataset["theme"] = dark.value ? "dark" : "light";
  });
}
