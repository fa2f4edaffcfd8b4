// The line at the top of the trace: a prompt, how the model reads it, examples of the kit's world, and earlier graphs.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, percent, shown } from "../model/text";
import { workbench } from "../state/app";
import { go } from "../state/route";
import { graph } from "../state/trace";
import { cancelTrace, entries, importFile, loadHistory, read, removeGraph, traceHere, tracing, type, typed } from "../state/prompting";
import { TokenText } from "./parts";

export function PromptBar({ children }: { children: ComponentChildren }) {
  const view = graph.value?.view;
  const busy = tracing.value;
  useEffect(() => {
    if (view) typed.value = view.prompt;
  }, [view?.id]);
  const send = (event: Event) => {
    event.preventDefault();
    void traceHere(typed.value);
  };
  const tokens = read.value;
  return (
    <div class="promptbar">
      <form onSubmit={send}>
        <input
          id="prompt"
          type="text"
          class="prompt"
          value={typed.value}
          placeholder="Type a prompt, press Enter, and watch what the model does with it"
          aria-label="Prompt"
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => type(event.currentTarget.value)}
          onBlur={() => setTimeout(() => (read.value = null), 200)}
        />
        {busy ? (
          <button type="button" class="main" onClick={cancelTrace}>Cancel</button>
        ) : (
          <button type="submit" class="main" disabled={!typed.value.trim()}>Trace</button>
        )}
      </form>
      {children}
      <Examples />
      <History />
      {tokens && !busy && (
        <div class="readas" aria-label={`${tokens.tokens.length} tokens`}>
          {tokens.tokens.map((token, i) => (
            <span key={i} class={`token${i < tokens.first_position ? " out" : ""}`} title={`token ${token.id}`}><TokenText text={token.text} /></span>
          ))}
          <small>{tokens.tokens.length} of {workbench.value?.limits.prompt_tokens ?? "…"} tokens</small>
        </div>
      )}
      {busy && (
        <div class="readas busy" role="status">
          <progress max={busy.at?.total || undefined} value={busy.at?.total ? busy.at.done : undefined} aria-label="Tracing" />
          <small>{busy.queued ? "waiting for the model" : busy.at?.note || "tracing"}</small>
        </div>
      )}
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
            <button type="button" onClick={() => { close(); type(each.prompt); void traceHere(each.prompt); }}>
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

function History() {
  useEffect(() => void loadHistory(), []);
  const file = useRef<HTMLInputElement>(null);
  return (
    <Menu name="History">
      {(close) => (
        <>
          <li class="menuhead">
            <button type="button" onClick={() => file.current?.click()}>Open a file… <small>graph JSON as Neuronpedia and circuit-tracer write it, or .graph</small></button>
            <input ref={file} type="file" accept=".json,.graph" hidden onChange={(event) => { const chosen = event.currentTarget.files?.[0]; if (chosen) void importFile(chosen); close(); }} />
          </li>
          {entries.value.map((each) => (
            <li key={each.id} class="withdrop">
              <button type="button" onClick={() => { close(); go("trace", each.id); }}>
                <span class="mono">{each.prompt || each.tokens.map(shown).join("")}</span>
                <small>
                  {each.top && <>→ <b class="mono">{shown(each.top.label)}</b> {percent(each.top.probability)} · </>}
                  {each.n_nodes} nodes · {ago(each.date, Date.now())}{each.origin === "import" && " · imported"}
                </small>
              </button>
              <button type="button" class="drop" aria-label={`Remove the graph of ${each.prompt}`} onClick={() => void removeGraph(each.id)}>✕</button>
            </li>
          ))}
          {!entries.value.length && <li class="note">No graphs yet.</li>}
        </>
      )}
    </Menu>
  );
}

export function Menu({ name, children }: { name: string; children: (close: () => void) => ComponentChildren }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => !box.current?.contains(event.target as globalThis.Node) && setOpen(false);
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, [open]);
  const onKey = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    setOpen(false);
    box.current?.querySelector("button")?.focus();
  };
  return (
    <div class="menu" ref={box} onKeyDown={onKey}>
      <button type="button" aria-expanded={open} aria-haspopup="true" onClick={() => setOpen(!open)}>{name} ▾</button>
      {open && <ul>{children(() => setOpen(false))}</ul>}
    </div>
  );
}

