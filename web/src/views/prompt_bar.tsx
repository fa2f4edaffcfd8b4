// The bar at the top of the trace view: the prompt with its tokens, examples, and earlier graphs.
import { counted, known, t } from "../i18n/text";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { visibleText } from "../model/format";
import { workbench } from "../state/app";
import { graph } from "../state/trace";
import {
  addBos,
  cancelTrace,
  followGraph,
  hideTokens,
  position,
  targetError,
  targetText,
  targetsOf,
  tokenization,
  traceHere,
  tracing,
  typePrompt,
  promptText,
  tokenizationError,
} from "../state/prompting";
import { History } from "./history";
import { Menu } from "./menu";
import { StartSwitch } from "./start_switch";
import { TokenText } from "./widgets";

export function PromptBar({ children }: { children: ComponentChildren }) {
  const view = graph.value?.view;
  const busy = tracing.value;
  const named = targetText.value.trim() !== ""; // the field of the targets stays until they are traced
  useEffect(() => {
    if (view) followGraph(view);
  }, [view?.id]);
  const send = (event: Event) => {
    event.preventDefault();
    const asked = { targets: targetsOf(targetText.value), position: position.value };
    if (!asked.targets.length) hideTokens(); // they would lie over the graph and the menus; typing brings them back
    void traceHere(promptText.value, addBos.value, asked);
  };
  return (
    <div class="promptbar" onFocusOut={(event) => hideTokensOutside(event.currentTarget)}>
      <form id="promptform" onSubmit={send}>
        <input
          id="prompt"
          type="text"
          class="prompt"
          value={promptText.value}
          placeholder={t("Type a prompt, press Enter, and watch what the model does with it")}
          aria-label={t("Prompt")}
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => typePrompt(event.currentTarget.value)}
          onFocus={(event) => typePrompt(event.currentTarget.value)}
        />
        {busy ? (
          <button type="button" class="main" onClick={cancelTrace}>
            {t("Cancel")}
          </button>
        ) : (
          <button type="submit" class="main" disabled={!promptText.value.trim()}>
            {t("Trace")}
          </button>
        )}
      </form>
      {children}
      <Examples />
      <History />
      {(!busy || named) && <ReadAs />}
      {busy && !named && (
        <div class="readas busy" role="status">
          <Working />
        </div>
      )}
    </div>
  );
}

function Working() {
  const busy = tracing.value!;
  return (
    <>
      <progress
        max={busy.progress?.total || undefined}
        value={busy.progress?.total ? busy.progress.done : undefined}
        aria-label={t("Tracing")}
      />
      <small>{busy.queued ? t("waiting for the model") : known(busy.progress?.note || "tracing")}</small>
    </>
  );
}

/** Hides the tokens of the prompt once the focus has left the bar. */
function hideTokensOutside(bar: HTMLElement): void {
  setTimeout(() => !bar.contains(document.activeElement) && !tracing.peek() && hideTokens(), 200);
}

/** The tokens of the prompt and what it begins with, or why it cannot be tokenized. */
function ReadAs() {
  const tokens = tokenization.value;
  if (tokenizationError.value)
    return (
      <div class="readas wrong" role="status">
        {tokenizationError.value}
      </div>
    );
  if (!tokens) return null;
  const explained = tokens.tokens[position.value];
  return (
    <div
      class="readas"
      role="group"
      aria-label={counted(tokens.tokens.length, "token|tokens")}
      onMouseDown={(event) => isTextField(event.target) || event.preventDefault()} // the prompt keeps the focus
    >
      {tokens.tokens.map((token, i) => (
        <span
          key={i}
          class={`token${i < tokens.first_position ? " out" : ""}${i === position.value ? " chosen" : ""}`}
          title={`${t("token {a}", { a: token.id })}${tokens.shown ? `, ${token.text}` : ""}`}
        >
          <TokenText text={tokens.shown?.[i] ?? token.text} />
        </span>
      ))}
      <small>
        {" "}
        {t("{n} of {all} tokens", { n: tokens.tokens.length, all: workbench.value?.limits.prompt_tokens ?? "…" })}
      </small>
      <StartSwitch on={addBos.value} set={(on) => typePrompt(promptText.value, on)} />
      <Targets />
      {tracing.value && <Working />}
      {explained && (
        <p class="note">
          {t("Explains what follows the token {a}.", {
            a: visibleText(tokens.shown?.[position.value] ?? explained.text),
          })}{" "}
          <button type="button" class="link" onClick={() => (position.value = -1)}>
            {t("Explain what follows the whole prompt")}
          </button>
        </p>
      )}
    </div>
  );
}

const isTextField = (element: EventTarget | null) => element instanceof HTMLInputElement && element.type === "text";

/** The outputs to explain, in place of the likeliest tokens. */
function Targets() {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (targetError.value) field.current?.focus();
  }, [targetError.value]);
  return (
    <div class="targets">
      <label>
        <span>{t("Explain")}</span>
        <input
          ref={field}
          type="text"
          form="promptform"
          value={targetText.value}
          placeholder={t("the likeliest tokens; or Paris - Rome; or Paris, Rome")}
          title={t("A token, a difference of two, or several with commas between them")}
          aria-label={t("What to explain")}
          aria-invalid={targetError.value !== ""}
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => ([targetText.value, targetError.value] = [event.currentTarget.value, ""])}
        />
      </label>
      {targetError.value && (
        <p class="wrong" role="alert">
          {targetError.value}
        </p>
      )}
    </div>
  );
}

function Examples() {
  const examples = workbench.value?.examples ?? [];
  if (!examples.length) return null;
  return (
    <Menu name={t("Examples")}>
      {(close) =>
        examples.map((each) => (
          <li key={each.title}>
            <button
              type="button"
              onClick={() => {
                close();
                typePrompt(each.prompt, true);
                void traceHere(each.prompt);
              }}
            >
              <strong>{known(each.title)}</strong>
              <span class="mono">{each.prompt}</span>
              {each.note && <small>{known(each.note)}</small>}
            </button>
          </li>
        ))
      }
    </Menu>
  );
}
