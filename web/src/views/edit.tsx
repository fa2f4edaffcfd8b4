// The edit view: the form with features and strengths, and the results beside it.
import { counted, known, t } from "../i18n/text";
import { useEffect } from "preact/hooks";
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
import { HowToRead, READ_CLAMPED } from "./how_to_read";
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
        <h1>{t("Edit")}</h1>
        <h2 class="unseen">{t("What is changed")}</h2>
        <label class="field">
          <span>{t("Prompt")}</span>
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
                {counted(count, "edit|edits")} ·{" "}
                <button type="button" class="link" onClick={() => (edits.value = [])}>
                  {t("remove all")}
                </button>
              </>
            ) : (
              counted(count, "edit|edits")
            )
          }
        >
          {t("Features to change")}
        </Heading>
        <EditLines />
        <FeaturePicker onPick={(feature) => addFeature(feature)} />
        <Through />
        <Settings />
        <p class="actions run">
          <button type="submit" class="main" disabled={!ready.value}>
            {t("Run")}
          </button>
          {running.value && (
            <button type="button" disabled={!running.value.id} onClick={cancel}>
              {t("Cancel")}
            </button>
          )}
          {running.value && <Running />}
        </p>
      </form>
      <div class="editresult" aria-live="polite">
        <h2 class="unseen">{t("What came of it")}</h2>
        <WhatWasRun />
        {streams.value && <Texts />}
        {effect.value && <Effect view={effect.value} />}
        {!effect.value && !streams.value && !running.value && (
          <p class="hint">
            {t("What you set here is done to the real model.")} <em>{t("Predicted")}</em>{" "}
            {t("is what the graph's frozen model says should happen;")} <em>{t("measured")}</em> {t("is what did.")}
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
        aria-label={known(title)}
      />{" "}
      {known(title)}
      {progress?.note ? `: ${known(progress.note)}` : ""}
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
        {t("Clamped through")}{" "}
        <select
          value={String(through.value ?? layers[0])}
          onChange={(event) => (requestedThrough.value = Number(event.currentTarget.value))}
        >
          {layers.map((layer, i) => (
            <option key={layer} value={layer}>
              {" "}
              {t("layer")} {layer}
              {i === 0 ? t(", the last edited") : i === layers.length - 1 ? t(", the last") : ""}
            </option>
          ))}
        </select>
      </label>
      <p class="note">
        {t(
          "MLP outputs from the edit through this layer stay as recorded plus what the edit writes; layers above react.",
        )}
      </p>
      <HowToRead text={READ_CLAMPED} />
    </div>
  );
}

function Settings() {
  const values = settings.value;
  const set = (changes: Partial<typeof values>) => (settings.value = { ...values, ...changes });
  return (
    <details class="settings">
      <summary>{t("Text and prediction")}</summary>
      <label>
        {t("Tokens to write")}{" "}
        <input
          type="number"
          min={1}
          max={512}
          value={values.tokens}
          onChange={(event) => set({ tokens: Number(event.currentTarget.value) || 12 })}
        />
      </label>
      <label>
        {t("Temperature")}{" "}
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
        {t("Top p")}{" "}
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
        {t("Seed")}{" "}
        <input
          type="number"
          min={0}
          value={values.seed}
          onChange={(event) => set({ seed: Number(event.currentTarget.value) || 0 })}
        />
      </label>
      <label>
        {t("Prediction")}{" "}
        <select value={values.predict} onChange={(event) => set({ predict: event.currentTarget.value as Prediction })}>
          <option value="effects">{t("effects: patterns and norms respond, to first order")}</option>
          <option value="frozen">{t("frozen: patterns and norms held, features recomputed")}</option>
          <option value="direct">{t("direct: the edges alone")}</option>
        </select>
      </label>
    </details>
  );
}
