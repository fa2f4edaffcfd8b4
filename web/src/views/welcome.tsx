// The trace view without a graph: a short introduction and examples to start from.
import { known, t } from "../i18n/text";
import { workbench } from "../state/app";
import { go } from "../state/route";
import { traceHere, typePrompt } from "../state/prompting";

export function Welcome() {
  const kit = workbench.value?.kit;
  const gallery = workbench.value?.gallery ?? [];
  const examples = gallery.length ? gallery : (workbench.value?.examples ?? []).slice(0, 6);
  return (
    <div class="welcome">
      <h2>{t("Follow the thread from a prompt to the answer.")}</h2>
      <p>
        {kit ? (
          <>
            {t("The model is")} <b>{kit.subject}</b>
            {t(", read through")} <b>{kit.dictionary}</b>: {kit.n_layers} {t("layers,")} {sum(kit.features)}{" "}
            {t("features.")}{" "}
          </>
        ) : null}{" "}
        {t(
          "Type a prompt above and press Enter. What comes first is a sentence: how the model came to its answer, and what was measured of it. The graph of features is one click below.",
        )}
      </p>
      {kit && !kit.can_trace && (
        <p class="note">
          {t("This dictionary is an SAE: its graph cannot be traced, but its cards, edits and steering work.")}
        </p>
      )}
      {gallery.length > 0 && (
        <>
          <h3>{t("Twelve worked examples")}</h3>
          <p>{t("One press explains each. The line below a prompt says what to look at.")}</p>
        </>
      )}
      <ul>
        {examples.map((each) => (
          <li key={each.title}>
            <button
              type="button"
              onClick={() => {
                typePrompt(each.prompt, true);
                void traceHere(each.prompt);
              }}
            >
              <strong>{known(each.title)}</strong>
              <span class="mono">{each.prompt}</span>
              <small>{known(each.note)}</small>
            </button>
          </li>
        ))}
      </ul>
      <p>
        <button type="button" class="link" onClick={() => go("guide")}>
          {t("New here? The guide takes five minutes.")}
        </button>
      </p>
    </div>
  );
}

function sum(features: Readonly<Record<string, number>>): string {
  return Object.values(features)
    .reduce((total, n) => total + n, 0)
    .toLocaleString("en");
}
