// What the panels of effects, edges and heads share: their words, a refusal, a wait.
import { computed } from "@preact/signals";
import { EXPLANATIONS } from "../i18n/explanations";
import { language } from "../state/language";

export const text = computed(() => EXPLANATIONS[language.value]);

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
