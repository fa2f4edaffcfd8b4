// What the panels of effects, edges and heads share: their words, a refusal, a wait.
import { computed } from "@preact/signals";
import { en } from "../i18n/explanations";
import { russian } from "../state/language";

export const text = computed(() => russian.value?.explanations ?? en);

export function Problem({ line }: { line: string }) {
  return (
    <p class="note wrong" role="alert">
      {line}
    </p>
  );
}

export function Waiting({ line }: { line: string }) {
  return (
    <p class="note" role="status">
      {line}
    </p>
  );
}
