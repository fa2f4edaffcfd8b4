// The help dialog: the legend of the graph, terms, and shortcuts.
import { type Text, t } from "../i18n/text";
import { useEffect, useRef } from "preact/hooks";
import { embedded, helpOpen } from "../state/app";

const KEYS: [string, Text][] = [
  ["/", "search"],
  ["← → ↑ ↓", "move between marks"],
  ["j k", "next, previous by influence"],
  ["Enter", "choose; with Shift, add to what is chosen"],
  ["i o", "strongest input, output"],
  ["x", "an edge: its heads and steps"],
  ["h", "a head: where it looks, and why"],
  ["a", "what all heads look at"],
  ["p", "pin"],
  ["g", "group what is chosen, or take a group apart"],
  ["e", "edit the chosen feature"],
  ["l", "label it"],
  ["u U", "undo, redo"],
  ["+ −", "larger, smaller"],
  ["t", "light or dark"],
  ["Esc", "clear, step back"],
  ["v", "explanation or graph"],
  ["n w s", "name the chosen group, swap it, save"],
  ["?", "this help"],
];

export function Help() {
  const box = useRef<HTMLDialogElement>(null);
  const open = helpOpen.value;
  useEffect(() => {
    if (open && !box.current?.open) box.current?.showModal();
  }, [open]);
  return (
    <dialog ref={box} aria-labelledby="help-title" onClose={() => (helpOpen.value = false)}>
      <h2 id="help-title">{t("Reading a graph")}</h2>
      <p>
        {t(
          "Each mark is something the model computed on this prompt. Tokens stand at the bottom, layers above them, outputs on top. A line says how much one mark added to another, or took away, in this one run. Larger marks have more influence on the outputs.",
        )}
      </p>
      <ul class="legend">
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <circle class="lf" cx="14" cy="9" r="6" />
          </svg>
          {t("feature")}
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <path class="le" d="M14 2l7 7-7 7-7-7z" />
          </svg>
          {t("error: what the features missed")}
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <rect class="lt" x="8" y="3" width="12" height="12" rx="3" />
          </svg>
          {t("token embedding")}
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <rect class="lg" x="1" y="3" width="26" height="13" rx="6.5" />
          </svg>
          {t("group of nodes as one")}
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <path class="lp" d="M1 9h26" />
          </svg>
          {t("adds; wider = more of the target's input")}
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <path class="lm" d="M1 9h26" />
          </svg>
          {t("takes away")}
        </li>
      </ul>
      <dl class="terms">
        <dt>{t("Replacement")}</dt>
        <dd>{t("share of the influence on the outputs that starts at tokens and not at errors")}</dd>
        <dt>{t("Completeness")}</dt>
        <dd>{t("share of what enters the nodes that is not error, nodes weighted by influence")}</dd>
        <dt>{t("Value, effect")}</dt>
        <dd>
          {t(
            "of an edge: what the target is made of; what it loses when the source goes, patterns and norms following",
          )}
        </dd>
        <dt>{t("Offsets")}</dt>
        <dd>
          {t(
            "what enters beside the edges: biases, positions, the left-out first position (sink), features cut by a limit",
          )}
        </dd>
        <dt>{t("Names")}</dt>
        <dd>{t("● a person, ◐ a model, ○ a rule, ↑ the tokens it promotes")}</dd>
      </dl>
      <dl class="shortcuts">
        {KEYS.filter(([key]) => !embedded || !["e", "l", "x", "h", "a"].includes(key)).map(([key, meaning]) => [
          <dt key={key}>{key}</dt>,
          <dd key={meaning}>{t(meaning)}</dd>,
        ])}
      </dl>
      <form method="dialog">
        <button type="submit" class="main">
          {t("Close")}
        </button>
      </form>
    </dialog>
  );
}
