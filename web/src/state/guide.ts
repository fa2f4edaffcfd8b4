// Where a person is in the guide, and whether the step's task is done: read off what they did, never asked.
import { computed, effect, signal } from "@preact/signals";
import { type Language, LANGUAGES, STEPS, type StepName } from "../i18n/guide";
import { recall, remember } from "./app";
import { labelling } from "./cards";
import { audit, effect as changed, runAudit, runEdits, addEdit, source } from "./edit";
import { traceHere } from "./prompting";
import { go, route } from "./route";
import { choose, choosePath, errorsShown, graph, path, primaryNode, setThreshold, tab } from "./trace";
import { notices } from "./app";

const first = typeof navigator !== "undefined" && navigator.language.startsWith("ru") ? "ru" : "en";
const kept = recall("clew.language");
export const language = signal<Language>(kept in LANGUAGES ? (kept as Language) : first);
/** The step that the coach shows; null when the guide is not on. */
export const lesson = signal<number | null>(null);
export const reached = signal(Number(recall("clew.guide")) || 0);
export const guess = signal<number | null>(null);
const finished = signal<ReadonlySet<StepName>>(new Set());

export const stepName = computed<StepName | null>(() => (lesson.value === null ? null : (STEPS[lesson.value] ?? null)));
export const isDone = computed(() => stepName.value !== null && finished.value.has(stepName.value));

export function speak(next: Language): void {
  language.value = next;
  remember("clew.language", next);
}

export function enter(step: number): void {
  lesson.value = step;
  guess.value = null;
  if (step > reached.peek()) {
    reached.value = step;
    remember("clew.guide", String(step));
  }
  const { view } = route.peek();
  if (STEPS[step] === "check") {
    if (view !== "edit") go("edit");
  } else if (view !== "trace") go("trace", graph.peek()?.view.id ?? "");
}

export function leave(): void {
  lesson.value = null;
}

/** Does the step's task, for those who only want to watch. */
export function doIt(): void {
  const now = graph.peek();
  switch (stepName.peek()) {
    case "trace":
      void traceHere("The capital of France is");
      break;
    case "feature":
    case "card": {
      const main = strongest();
      if (main) choose(main.id);
      if (stepName.peek() === "card") tab.value = "card";
      break;
    }
    case "label": {
      if (primaryNode.peek()?.kind !== "feature") choose(strongest()?.id ?? null);
      labelling.value = primaryNode.peek()?.feature ?? null;
      break;
    }
    case "error": {
      errorsShown.value = true;
      const error = now?.ranked.find((node) => node.kind === "error");
      if (error) choose(error.id);
      else setThreshold("node", 0.95);
      break;
    }
    case "attribution":
      choose(null);
      if (now?.view.paths[0]) choosePath(now.view.paths[0].nodes);
      break;
    case "steer": {
      const main = strongest();
      if (!main || !now) break;
      addEdit(now.view, main);
      go("edit");
      void runEdits();
      break;
    }
    case "check":
      if (source.peek() || now) void runAudit(source.peek() || now!.view.id, 30);
      break;
  }
}

/** The most influential feature above the last token, where the answer is made. */
function strongest() {
  const now = graph.peek();
  if (!now) return undefined;
  const at = now.view.tokens.length - 1;
  const features = now.ranked.filter((node) => node.kind === "feature");
  return features.find((node) => node.position === at) ?? features[0];
}

const doing: Record<StepName, () => boolean> = {
  trace: () => graph.value?.view.prompt.includes("France") ?? false,
  feature: () => primaryNode.value?.kind === "feature",
  card: () => primaryNode.value?.kind === "feature" && tab.value === "card",
  label: () => notices.value.some((each) => each.kind === "say" && each.text.includes(" is now “")),
  error: () => primaryNode.value?.kind === "error",
  attribution: () => path.value !== null,
  steer: () => changed.value !== null,
  check: () => audit.value !== null,
};

effect(() => {
  const now = stepName.value;
  if (now && doing[now]() && !finished.peek().has(now)) finished.value = new Set([...finished.peek(), now]);
});
