// "How do I read this?" on the spot: what a figure means, where it stands.
import { t, type Text } from "../i18n/text";

export function HowToRead({ text }: { text: Text }) {
  return (
    <details class="howto">
      <summary>{t("How do I read this?")}</summary>
      <p class="note">{t(text)}</p>
    </details>
  );
}

export const READ_SCORES: Text =
  "Replacement says how much of the influence on the outputs starts at tokens, completeness how much of what enters the nodes the features account for; 1 is all of it. The rest is error: what the dictionary misses of this prompt. Below about 0.7 the graph tells a part of the story only.";
export const READ_OFFSETS: Text =
  "A value is the sum of all edges into the node and of the offsets: biases, the position, the left-out first position (sink), features that were cut. Offsets do not depend on the words of the prompt, so they explain nothing of why it is this answer.";
export const READ_CLAMPED: Text =
  "In a clamped layer the MLP's output stays as it was recorded, plus what the edit writes. Few clamped layers let the model react and repair; many show what the edit does by itself. A conclusion that changes with this number is one about the model's reaction.";
export const READ_AUDIT: Text =
  "Spearman says whether larger predictions go with larger effects (1 is perfect order), the slope whether they have the right size (1), the wrong signs how often the direction is missed. Read each row beside the shuffled edges: what the null reaches too is no evidence for the graph.";
