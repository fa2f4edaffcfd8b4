// The edit view: choose features and strengths, watch the default and the edited text, and see for every output and
// every feature downstream what was predicted beside what was measured.
import { useEffect, useState } from "preact/hooks";
import { VERBS, type Verb } from "../model/edits";
import { amount, percent, plural, shown, signed } from "../model/text";
import type { EffectChange, EffectView, Step } from "../types";
import { nameOf, workbench } from "../state/app";
import { addFeature, cancel, dropEdit, edits, effect, layersThrough, prompt, runEdits, running, setEdit, settings, streams, through, wantedThrough } from "../state/edit";
import { cards, wantCard } from "../state/cards";
import { go } from "../state/route";
import { AuditPart } from "./audit";
import { FeaturePicker } from "./feature_picker";
import { Bar, Few, Heading, KindMark, TokenText } from "./parts";

export function Edit() {
  const ready = prompt.value.trim() !== "" && edits.value.length > 0 && !running.value;
  useEffect(() => {
    if (!prompt.value) prompt.value = workbench.value?.examples[0]?.prompt ?? "";
  }, [workbench.value]);
  const send = (event: Event) => {
    event.preventDefault();
    if (ready) void runEdits();
  };
  return (
    <div class="page edit">
      <form class="editform" onSubmit={send}>
        <h1>Edit</h1>
        <h2 class="unseen">What is changed</h2>
        <label class="field"><span>Prompt</span><input type="text" class="prompt" value={prompt.value} autocomplete="off" spellcheck={false} onInput={(event) => (prompt.value = event.currentTarget.value)} /></label>
        <Heading note={plural(edits.value.length, "edit")}>Features to change</Heading>
        {edits.value.map((_, i) => <Line key={i} index={i} />)}
        {!edits.value.length && <p class="note">None yet. Choose a feature in a graph and press <kbd>e</kbd>, or search for one here.</p>}
        <FeaturePicker onPick={(feature) => addFeature(feature)} />
        <Through />
        <Settings />
        <p class="actions">
          <button type="submit" class="main" disabled={!ready}>Run</button>
          {running.value && <button type="button" onClick={cancel}>Cancel</button>}
          {running.value && <Running />}
        </p>
      </form>
      <div class="editresult" aria-live="polite">
        <h2 class="unseen">What came of it</h2>
        {streams.value && <Texts />}
        {effect.value ? <Effect view={effect.value} /> : !running.value && (
          <p class="hint">What you set here is done to the real model. <em>Predicted</em> is what the graph's frozen model says should happen; <em>measured</em> is what did.</p>
        )}
        <AuditPart />
      </div>
    </div>
  );
}

function Running() {
  const now = running.value!;
  const { at } = now;
  return (
    <span class="running" role="status">
      <progress max={at?.total || undefined} value={at?.total ? at.done : undefined} aria-label={now.what} />
      {now.what}{at?.note ? `: ${at.note}` : ""}
    </span>
  );
}

function Line({ index }: { index: number }) {
  const edit = edits.value[index]!;
  wantCard(edit.feature);
  const card = cards.value.get(edit.feature);
  const named = nameOf(edit.feature, card?.name, card?.name_kind);
  const most = card?.card?.max_activation ?? 10;
  const choose = (verb: Verb) => {
    const usual = VERBS.find((each) => each.verb === verb)!.strength;
    setEdit(index, { verb, strength: verb === "set" || verb === "add" || verb === "steer" ? Math.round(most * 10) / 10 : usual });
  };
  const span = edit.verb === "scale" ? 8 : Math.max(4, Math.ceil(2 * most));
  return (
    <fieldset class="editline">
      <legend><button type="button" class="link" onClick={() => go("feature", edit.feature)}>{named.text || edit.feature}</button> <KindMark kind={named.kind} /> <code>{edit.feature}</code></legend>
      <select value={edit.verb} aria-label="What is done to it" onChange={(event) => choose(event.currentTarget.value as Verb)}>
        {VERBS.map((each) => <option key={each.verb} value={each.verb}>{each.says}</option>)}
      </select>
      {edit.verb !== "ablate" && (
        <>
          <input type="range" min={-span} max={span} step={span / 80} value={edit.strength} aria-label="Strength" onInput={(event) => setEdit(index, { strength: Number(event.currentTarget.value) })} />
          <input type="number" class="strength" step="any" value={edit.strength} aria-label="Strength as a number" onInput={(event) => setEdit(index, { strength: Number(event.currentTarget.value) || 0 })} />
        </>
      )}
      <label class="at">at <input type="text" list="positions" value={edit.positions} aria-label="Positions: all, prompt, generated, or numbers" onChange={(event) => setEdit(index, { positions: event.currentTarget.value.replace(/\s/g, "") || "all" })} /></label>
      <datalist id="positions"><option value="all" /><option value="prompt" /><option value="generated" /></datalist>
      <button type="button" class="close" aria-label={`Remove the edit of ${edit.feature}`} onClick={() => dropEdit(index)}>✕</button>
    </fieldset>
  );
}

/** The last clamped layer; the first of the options is the server's default. */
function Through() {
  const layers = layersThrough.value;
  if (!layers.length) return null;
  return (
    <div class="through">
      <label>
        Clamped through{" "}
        <select value={String(through.value ?? layers[0])} onChange={(event) => (wantedThrough.value = Number(event.currentTarget.value))}>
          {layers.map((layer, i) => <option key={layer} value={layer}>layer {layer}{i === 0 ? ", the last edited" : i === layers.length - 1 ? ", the last" : ""}</option>)}
        </select>
      </label>
      <p class="note">MLP outputs from the edit through this layer stay as recorded plus what the edit writes; layers above react.</p>
    </div>
  );
}

function Settings() {
  const now = settings.value;
  const set = (part: Partial<typeof now>) => (settings.value = { ...now, ...part });
  return (
    <details class="settings">
      <summary>Text and prediction</summary>
      <label>Tokens to write <input type="number" min={1} max={512} value={now.tokens} onChange={(event) => set({ tokens: Number(event.currentTarget.value) || 12 })} /></label>
      <label>Temperature <input type="number" min={0} max={10} step={0.1} value={now.temperature} onChange={(event) => set({ temperature: Number(event.currentTarget.value) || 0 })} /></label>
      <label>Top p <input type="number" min={0.01} max={1} step={0.01} value={now.top_p} onChange={(event) => set({ top_p: Number(event.currentTarget.value) || 1 })} /></label>
      <label>Seed <input type="number" min={0} value={now.seed} onChange={(event) => set({ seed: Number(event.currentTarget.value) || 0 })} /></label>
      <label>
        Prediction{" "}
        <select value={now.predict} onChange={(event) => set({ predict: event.currentTarget.value as "frozen" | "direct" })}>
          <option value="frozen">frozen: patterns and norms held, features recomputed</option>
          <option value="direct">direct: the edges alone</option>
        </select>
      </label>
    </details>
  );
}

function Texts() {
  const { default: plain, edited } = streams.value!;
  return (
    <section class="texts" aria-label="Texts, default and edited">
      <Text name="Default" steps={plain} other={edited} />
      <Text name="Edited" steps={edited} other={plain} />
    </section>
  );
}

function Text({ name, steps, other }: { name: string; steps: readonly Step[]; other: readonly Step[] }) {
  return (
    <div>
      <h3>{name}</h3>
      <p class="stream">
        <span class="given">{prompt.value}</span>
        {steps.map((step, i) => (
          <span key={i} class={`tok new${other[i] && other[i].token_id !== step.token_id ? " differs" : ""}`} title={`${percent(step.probability)}`}>{step.end === "eos" ? <small title="the text ends here"> ■</small> : <TokenText text={step.text} />}</span>
        ))}
      </p>
    </div>
  );
}

function Effect({ view }: { view: EffectView }) {
  const [all, setAll] = useState(false);
  return (
    <>
      <Heading note={view.through == null ? null : `clamped through layer ${view.through}`}>Next token: probability</Heading>
      <table class="numbers">
        <thead><tr><th scope="col">token</th><th scope="col">before</th><th scope="col">predicted</th><th scope="col">measured</th><th scope="col"><span class="unseen">change</span></th></tr></thead>
        <tbody>
          {(all ? view.outputs : view.outputs.slice(0, 8)).map((each) => (
            <tr key={each.token_id}>
              <th scope="row" class="mono"><TokenText text={each.token} /></th>
              <td>{percent(each.before)}</td>
              <td>{each.predicted == null ? "–" : percent(each.predicted)}</td>
              <td><b>{percent(each.measured)}</b></td>
              <td class="barcell"><div><Bar share={each.measured - each.before} mark={each.predicted == null ? null : each.predicted - each.before} /><small>{points(each.measured - each.before)}</small></div></td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">Bars show the measured change, black ticks the predicted one.</p>
      {view.outputs.length > 8 && <button type="button" class="more" aria-expanded={all} onClick={() => setAll(!all)}>{all ? "Show fewer" : `Show all ${view.outputs.length}`}</button>}
      <Changes view={view} />
    </>
  );
}

function points(change: number): string {
  return `${change >= 0 ? "+" : "−"}${(100 * Math.abs(change)).toFixed(1)} pp`;
}

function Changes({ view }: { view: EffectView }) {
  const [sort, setSort] = useState<"measured" | "missed">("measured");
  const moved = (each: EffectChange) => Math.abs(each.measured - each.before);
  const missed = (each: EffectChange) => Math.abs(each.measured - (each.predicted ?? each.before));
  const list = [...view.changes].sort((a, b) => (sort === "measured" ? moved(b) - moved(a) : missed(b) - missed(a)));
  const most = Math.max(1e-12, ...list.map(moved));
  return (
    <>
      <Heading
        note={
          <label class="inline">by <select value={sort} onChange={(event) => setSort(event.currentTarget.value as typeof sort)}><option value="measured">measured change</option><option value="missed">what the prediction missed</option></select></label>
        }
      >
        Features downstream ({view.n_changes})
      </Heading>
      <div class="changehead" aria-hidden="true"><span>change</span><span>feature</span><span>before</span><span>predicted</span><span>measured</span></div>
      <Few items={list} few={14} empty="No feature changed.">
        {(each) => {
          const named = nameOf(each.feature, each.label, each.label_kind);
          const position = Number(each.node.split("@")[1]);
          return (
            <button type="button" class="changerow" onClick={() => go("feature", each.feature)} title={`${each.node}: change ${signed(each.measured - each.before)}`}>
              <Bar share={(each.measured - each.before) / most} mark={each.predicted == null ? null : (each.predicted - each.before) / most} />
              <span class="what">{named.text || each.feature} <em>{shown(view.tokens[position] ?? "")} · {each.feature}</em></span>
              <span class="num">{amount(each.before)}</span>
              <span class="num">{each.predicted == null ? "–" : amount(each.predicted)}</span>
              <span class="num"><b>{amount(each.measured)}</b></span>
            </button>
          );
        }}
      </Few>
    </>
  );
}
