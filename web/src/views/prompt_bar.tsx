// The bar at the top of the trace view: the prompt with its tokens, examples, and earlier graphs.
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { workbench } from "../state/app";
import { graph } from "../state/trace";
import {
  addBos,
  cancelTrace,
  hideTokens,
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
  useEffect(() => {
    if (view) [promptText.value, addBos.value] = [view.prompt, view.add_bos];
  }, [view?.id]);
  const send = (event: Event) => {
    event.preventDefault();
    hideTokens(); // they would lie over the graph and the menus; typing brings them back
    void traceHere(promptText.value, addBos.value);
  };
  return (
    <div class="promptbar" onFocusOut={(event) => hideTokensOutside(event.currentTarget)}>
      <form onSubmit={send}>
        <input
          id="prompt"
          type="text"
          class="prompt"
          value={promptText.value}
          placeholder="Type a prompt, press Enter, and watch what the model does with it"
          aria-label="Prompt"
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => typePrompt(event.currentTarget.value)}
          onFocus={(event) => typePrompt(event.currentTarget.value)}
        />
        {busy ? (
          <button type="button" class="main" onClick={cancelTrace}>
            Cancel
          </button>
        ) : (
          <button type="submit" class="main" disabled={!promptText.value.trim()}>
            Trace
          </button>
        )}
      </form>
      {children}
      <Examples />
      <History />
      {!busy && <ReadAs />}
      {busy && (
        <div class="readas busy" role="status">
          <progress
            max={busy.progress?.total || undefined}
            value={busy.progress?.total ? busy.progress.done : undefined}
            aria-label="Tracing"
          />
          <small>{busy.queued ? "waiting for the model" : busy.progress?.note || "tracing"}</small>
        </div>
      )}
    </div>
  );
}

/** Hides the tokens of the prompt once the focus has left the bar. */
function hideTokensOutside(bar: HTMLElement): void {
  setTimeout(() => !bar.contains(document.activeElement) && hideTokens(), 200);
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
  return (
    <div
      class="readas"
      role="group"
      aria-label={`${tokens.tokens.length} tokens`}
      onMouseDown={(event) => event.preventDefault()} // the prompt keeps the focus
    >
      {tokens.tokens.map((token, i) => (
        <span
          key={i}
          class={`token${i < tokens.first_position ? " out" : ""}`}
          title={`token ${token.id}${tokens.shown ? `, ${token.text}` : ""}`}
        >
          <TokenText text={tokens.shown?.[i] ?? token.text} />
        </span>
      ))}
      <small>
        {tokens.tokens.length} of {workbench.value?.limits.prompt_tokens ?? "…"} tokens
      </small>
      <StartSwitch on={addBos.value} set={(on) => typePrompt(promptText.value, on)} />
    </div>
  );
}

function Examples() {
  const examples = workbench.value?.examples ?? [];
  if (!examples.length) return null;
  return (
    <Menu name="Examples">
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
              <strong>{each.title}</strong>
              <span class="mono">{each.prompt}</span>
              {each.note && <small>{each.note}</small>}
            </button>
          </li>
        ))
      }
    </Menu>
  );
}
