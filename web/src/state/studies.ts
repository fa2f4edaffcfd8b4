// Studies: which there are, the one that runs, the result that is read. The address holds the study, its settings, the
// job and the result, so that a reload finds them again.
import { effect as react, signal, untracked } from "@preact/signals";
import { api, followJob } from "../api_client";
import type { Progress, StudyList, StudyResult, StudyView } from "../types";
import { attempt, embedded } from "./app";
import { adjust, go, route } from "./route";

export const studies = signal<StudyList | null>(null);
export const result = signal<StudyResult | null>(null);
export const running = signal<{ id: string; progress: Progress | null } | null>(null);

export async function loadStudies(): Promise<void> {
  studies.value = (await attempt(() => api.studies())) ?? studies.peek();
}

/** The value of a setting in a form as it is sent; undefined where it is left to its default, null for a text that is
 *  none. */
export function settingOf(
  setting: StudyView["settings"][number],
  text: string | undefined,
): string | number | boolean | null | undefined {
  if (text === undefined || text === "" || text === String(setting.default)) return undefined;
  if (setting.kind === "text") return text;
  if (setting.kind === "switch") return text === "true";
  const value = Number(text);
  return Number.isFinite(value) && (setting.kind === "number" || Number.isInteger(value)) ? value : null;
}

/** The settings of a study that differ from their defaults. */
export function chosenSettings(
  study: StudyView,
  query: Readonly<Record<string, string>>,
): Record<string, string | number | boolean | null> {
  const chosen: Record<string, string | number | boolean | null> = {};
  for (const setting of study.settings) {
    const value = settingOf(setting, query[setting.name]);
    if (value !== undefined) chosen[setting.name] = value;
  }
  return chosen;
}

export async function runStudy(study: StudyView): Promise<void> {
  const settings = chosenSettings(study, route.peek().query);
  const job = await attempt(() => api.start({ kind: "study", study: study.name, settings }));
  if (!job) return;
  adjust({ job: job.id });
  await follow(job.id);
}

/** Shows a job's progress, then its result. */
async function follow(id: string): Promise<void> {
  running.value = { id, progress: null };
  const job = await attempt(() => followJob(id, { progress: (progress) => (running.value = { id, progress }) }));
  if (running.peek()?.id === id) running.value = null;
  await loadStudies();
  if (route.peek().view !== "studies" || route.peek().query["job"] !== id) return;
  adjust({ job: "" });
  if (job?.result?.kind === "study") go("studies", job.result.result);
}

export function cancelStudy(): void {
  const current = running.peek();
  if (current) void attempt(() => api.cancel(current.id));
}

let asked = "";
/** Keeps the result that is read, and the job that is followed, equal to the address. */
export function connectStudies(): void {
  if (embedded) return;
  react(() => {
    const { view, id, query } = route.value;
    if (view !== "studies") return;
    const job = query["job"] ?? "";
    untracked(() => {
      if (!studies.peek()) void loadStudies();
      if (job && running.peek()?.id !== job) void follow(job);
      if (id === asked && (result.peek() || !id)) return;
      [asked, result.value] = [id, null];
      if (id) void readResult(id);
    });
  });
}

async function readResult(id: string): Promise<void> {
  const answer = await attempt(() => api.studyResult(id));
  if (asked === id) result.value = answer;
}
