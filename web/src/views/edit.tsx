// The edit view: the form with features and strengths, and the results beside it.
import { useEffect } from "preact/hooks";
import { plural } from "../model/format";
import { workbench } from "../state/app";
import {
  addBos,
  addFeature,
  cancel,
  edits,
  effect,
  layersThrough,
  prompt,
  ready,
  runEdits,
  running,
  settings,
  streams,
  through,
  requestedThrough,
} from "../state/edit";
import type { Prediction } from "../types";
import { AuditPart } from "./audit";
import { EditLines } from "./edit_lines";
import { Effect, Texts, WhatWasRun } from "./effect";
import { FeaturePicker } from "./feature_picker";
import { StartSwitch } from "./start_switch";
import { Heading } from "./widgets";

export function Edit() {
  useEffect(() => {
    if (!prompt.value) prompt.value = workbench.value?.examples[0]?.prompt ?? "";
  }, [workbench.value]);
  const send = (event: Event) => {
    event.preventDefault();
    void runEdits();
  };
  const count = edits.value.length;
  return (
    <div class="page edit">
      <form class="editform" onSubmit={send}>
        <h1>Edit</h1>
        <h2 class="unseen">What is changed</h2>
        <label class="field">
          <span>Prompt</span>
          <input
            type="text"
            class="prompt"
            value={prompt.value}
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => (prompt.value = event.currentTarget.value)}
          />
        </label>
        <StartSwitch on={addBos.value} set={(on) => (addBos.value = on)} />
        <Heading
          note={
            count > 1 ? (
              <>
                {plural(count, "edit")} ·{" "}
                <button type="button" class="link" onClick={() => (edits.value = [])}>
                  remove all
                </button>
              </>
            ) : (
              plural(count, "edit")
            )
          }
        >
          Features to change
        </Heading>
        <EditLines />
        <FeaturePicker onPick={(feature) => addFeature(feature)} />
        <Through />
        <Settings />
        <p class="actions run">
          <button type="submit" class="main" disabled={!ready.value}>
            Run
          </button>
          {running.value && (
            <button type="button" onClick={cancel}>
              Cancel
            </button>
          )}
          {running.value && <Running />}
        </p>
      </form>
      <div class="editresult" aria-live="polite">
        <h2 class="unseen">What came of it</h2>
        <WhatWasRun />
        {streams.value && <Texts />}
        {effect.value && <Effect view={effect.value} />}
        {!effect.value && !streams.value && !running.value && (
          <p class="hint">
            What you set here is done to the real model. <em>Predicted</em> is what the graph's frozen model says should
            happen; <em>measured</em> is what did.
          </p>
        )}
        <AuditPart />
      </div>
    </div>
  );
}

function Running() {
  const { progress, title } = running.value!;
  return (
    <span class="running" role="status">
      <progress
        max={progress?.total || undefined}
        value={progress?.total ? progress.done : undefined}
        aria-label={title}
      />
      {title}
      {progress?.note ? `: ${progress.note}` : ""}
    </span>
  );
}

/** Chooses the last clamped layer. The first option is the server's default. */
function Through() {
  const layers = layersThrough.value;
  if (!layers.length) return null;
  return (
    <div class="through">
      <label>
        Clamped through{" "}
        <select
          value={String(through.value ?? layers[0])}
          onChange={(event) => (requestedThrough.value = Number(event.currentTarget.value))}
        >
          {layers.map((layer, i) => (
            <option key={layer} value={layer}>
              layer {layer}
              {i === 0 ? ", the last edited" : i === layers.length - 1 ? ", the last" : ""}
            </option>
          ))}
        </select>
      </label>
      <p class="note">
        MLP outputs from the edit through this layer stay as recorded plus what the edit writes; layers above react.
      </p>
    </div>
  );
}

function Settings() {
  const values = settings.value;
  const set = (changes: Partial<typeof values>) => (settings.value = { ...values, ...changes });
  return (
    <details class="settings">
      <summary>Text and prediction</summary>
      <label>
        Tokens to write{" "}
        <input
          type="number"
          min={1}
          max={512}
          value={values.tokens}
          onChange={(event) => set({ tokens: Number(event.currentTarget.value) || 12 })}
        />
      </label>
      <label>
        Temperature{" "}
        <input
          type="number"
          min={0}
          max={10}
          step={0.1}
          value={values.temperature}
          onChange={(event) => set({ temperature: Number(event.currentTarget.value) || 0 })}
        />
      </label>
      <label>
        Top p{" "}
        <input
          type="number"
          min={0.01}
          max={1}
          step={0.01}
          value={values.top_p}
          onChange={(event) => set({ top_p: Number(event.currentTarget.value) || 1 })}
        />
      </label>
      <label>
        Seed{" "}
        <input
          type="number"
          min={0}
          value={values.seed}
          onChange={(event) => set({ seed: Number(event.currentTarget.value) || 0 })}
        />
      </label>
      <label>
        Prediction{" "}
        <select value={values.predict} onChange={(event) => set({ predict: event.currentTarget.value as Prediction })}>
          <option value="effects">effects: patterns and norms respond, to first order</option>
          <option value="frozen">frozen: patterns and norms held, features recomputed</option>
          <option value="direct">direct: the edges alone</option>
        </select>
      </label>
    </details>
  );
}
