// The list of edits: feature, verb, strength and positions of each.
import { t } from "../i18n/text";
import { useState } from "preact/hooks";
import { type EditLine, VERBS, type Verb, positionsOf } from "../model/edits";
import { nameOf } from "../state/app";
import { cards, requestCard } from "../state/cards";
import { dropEdit, edits, setEdit } from "../state/edit";
import { go } from "../state/route";
import { KindMark } from "./widgets";

/** Lines that are shown at first: many edits would push Run out of sight. */
const FEW = 4;

export function EditLines() {
  const [allShown, setAllShown] = useState(false);
  // A line with invalid text is never hidden: it says why Run is disabled.
  const needed = edits.value.findLastIndex((each) => positionsOf(each.positions) === null) + 1;
  const shownCount = allShown || edits.value.length <= FEW + 1 ? edits.value.length : Math.max(FEW, needed);
  const hiddenCount = edits.value.length - shownCount;
  if (!edits.value.length)
    return (
      <p class="note">
        {t("None yet. Choose a feature in a graph and press")} <kbd>e</kbd>
        {t(", or search for one here.")}
      </p>
    );
  return (
    <>
      {edits.value.slice(0, shownCount).map((_, i) => (
        <Line key={i} index={i} />
      ))}
      {hiddenCount > 0 && (
        <p class="note">
          {" "}
          {t("and {n} more:", { n: hiddenCount })} {summary(edits.value.slice(shownCount))}
        </p>
      )}
      {edits.value.length > FEW && (
        <button type="button" class="more" aria-expanded={allShown} onClick={() => setAllShown(!allShown)}>
          {allShown ? t("Show the first {a} only", { a: FEW }) : t("Show all {a}", { a: edits.value.length })}
        </button>
      )}
    </>
  );
}

/** What edits do, by how many of them do it: "17 switch off, 1 multiply by". */
function summary(list: readonly EditLine[]): string {
  return VERBS.map(({ verb, phrase }) => [list.filter((each) => each.verb === verb).length, t(phrase)] as const)
    .filter(([n]) => n > 0)
    .map(([n, phrase]) => (n === list.length ? phrase : `${n} ${phrase}`))
    .join(", ");
}

function Line({ index }: { index: number }) {
  const edit = edits.value[index]!;
  requestCard(edit.feature);
  const card = cards.value.get(edit.feature);
  const named = nameOf(edit.feature, card?.name, card?.name_kind);
  const max = card?.card?.max_activation ?? 10;
  const choose = (verb: Verb) => {
    const defaultStrength = VERBS.find((each) => each.verb === verb)!.strength;
    setEdit(index, {
      verb,
      strength: verb === "set" || verb === "add" || verb === "steer" ? Math.round(max * 10) / 10 : defaultStrength,
    });
  };
  return (
    <fieldset class="editline">
      <legend>
        <button type="button" class="link" onClick={() => go("feature", edit.feature)}>
          {named.text || edit.feature}
        </button>{" "}
        <KindMark kind={named.kind} /> <code>{edit.feature}</code>
      </legend>
      <select
        value={edit.verb}
        aria-label={t("What is done to it")}
        onChange={(event) => choose(event.currentTarget.value as Verb)}
      >
        {VERBS.map((each) => (
          <option key={each.verb} value={each.verb}>
            {" "}
            {t(each.phrase)}
          </option>
        ))}
      </select>
      {edit.verb !== "ablate" && (
        <Strength edit={edit} index={index} span={edit.verb === "scale" ? 8 : Math.max(4, Math.ceil(2 * max))} />
      )}
      <Positions edit={edit} index={index} />
      <button
        type="button"
        class="close"
        aria-label={t("Remove the edit of {a}", { a: edit.feature })}
        onClick={() => dropEdit(index)}
      >
        ✕
      </button>
    </fieldset>
  );
}

function Strength({ edit, index, span }: { edit: EditLine; index: number; span: number }) {
  return (
    <>
      <input
        type="range"
        min={-span}
        max={span}
        step={span / 80}
        value={edit.strength}
        aria-label={t("Strength")}
        onInput={(event) => setEdit(index, { strength: Number(event.currentTarget.value) })}
      />
      <input
        type="number"
        class="strength"
        step="any"
        value={edit.strength}
        aria-label={t("Strength as a number")}
        onInput={(event) => setEdit(index, { strength: Number(event.currentTarget.value) || 0 })}
      />
    </>
  );
}

/** The positions of an edit. Invalid text stays in the field, with an error beside it. */
function Positions({ edit, index }: { edit: EditLine; index: number }) {
  const wrong = positionsOf(edit.positions) === null;
  const list = `positions-${index}`;
  return (
    <>
      <label class="at">
        {" "}
        {t("at")}{" "}
        <input
          type="text"
          list={list}
          value={edit.positions}
          aria-label={t("Positions: all, prompt, generated, or numbers")}
          aria-invalid={wrong}
          aria-describedby={wrong ? `${list}-wrong` : undefined}
          onInput={(event) => setEdit(index, { positions: event.currentTarget.value.replace(/[\s;=@]/g, "") })}
          onChange={(event) =>
            setEdit(index, { positions: event.currentTarget.value.replace(/[\s;=@]/g, "") || "all" })
          }
        />
      </label>
      <datalist id={list}>
        <option value="all" />
        <option value="prompt" />
        <option value="generated" />
      </datalist>
      {wrong && (
        <p class="wrong" id={`${list}-wrong`} role="alert">
          {edit.positions ? t("“{a}” is no position", { a: edit.positions }) : t("No position")}
          {t(": write all, prompt, generated, or numbers with commas between, such as 4,5.")}
        </p>
      )}
    </>
  );
}
