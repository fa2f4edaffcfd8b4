// The help dialog: the legend of the graph, terms, and shortcuts.
import { useEffect, useRef } from "preact/hooks";
import { embedded, helpOpen } from "../state/app";

const KEYS: [string, string][] = [
  ["/", "search"],
  ["← → ↑ ↓", "move between marks"],
  ["j k", "next, previous by influence"],
  ["Enter", "choose; with Shift, add to what is chosen"],
  ["i o", "strongest input, output"],
  ["x", "an edge: its heads and steps"],
  ["h", "a head: where it looks, and why"],
  ["p", "pin"],
  ["g", "group what is chosen, or take a group apart"],
  ["e", "edit the chosen feature"],
  ["l", "label it"],
  ["u U", "undo, redo"],
  ["+ −", "larger, smaller"],
  ["t", "light or dark"],
  ["Esc", "clear, step back"],
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
      <h2 id="help-title">Reading a graph</h2>
      <p>
        Each mark is something the model computed on this prompt. Tokens stand at the bottom, layers above them, outputs
        on top. A line says how much one mark added to another, or took away, in this one run. Larger marks have more
        influence on the outputs.
      </p>
      <ul class="legend">
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <circle class="lf" cx="14" cy="9" r="6" />
          </svg>
          feature
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <path class="le" d="M14 2l7 7-7 7-7-7z" />
          </svg>
          error: what the features missed
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <rect class="lt" x="8" y="3" width="12" height="12" rx="3" />
          </svg>
          token embedding
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <rect class="lg" x="1" y="3" width="26" height="13" rx="6.5" />
          </svg>
          group of nodes as one
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <path class="lp" d="M1 9h26" />
          </svg>
          adds; wider = more of the target's input
        </li>
        <li>
          <svg width="28" height="18" aria-hidden="true">
            <path class="lm" d="M1 9h26" />
          </svg>
          takes away
        </li>
      </ul>
      <dl class="terms">
        <dt>Replacement</dt>
        <dd>share of the influence on the outputs that starts at tokens and not at errors</dd>
        <dt>Completeness</dt>
        <dd>share of what enters the nodes that is not error, nodes weighted by influence</dd>
        <dt>Value, effect</dt>
        <dd>
          of an edge: what the target is made of; what it loses when the source goes, patterns and norms following
        </dd>
        <dt>Offsets</dt>
        <dd>
          what enters beside the edges: biases, positions, the left-out first position (sink), features cut by a limit
        </dd>
        <dt>Names</dt>
        <dd>● a person, ◐ a model, ○ a rule, ↑ the tokens it promotes</dd>
      </dl>
      <dl class="shortcuts">
        {KEYS.filter(([key]) => !embedded || !["e", "l", "x", "h"].includes(key)).map(([key, meaning]) => [
          <dt key={key}>{key}</dt>,
          <dd key={meaning}>{meaning}</dd>,
        ])}
      </dl>
      <form method="dialog">
        <button type="submit" class="main">
          Close
        </button>
      </form>
    </dialog>
  );
}
