// A feature's name, and the form to write a label. `l` opens the form, Enter saves, Escape cancels.
import { t } from "../i18n/text";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { en } from "../i18n/labels";
import type { NameKind } from "../types";
import { author, embedded, nameAt, nameOf, opening, refuse } from "../state/app";
import { type LabelChange, labelling, requestCard, writeLabel } from "../state/cards";
import { language, russian } from "../state/language";
import { Kbd, KindMark } from "./widgets";

export function FeatureName({
  feature,
  label,
  kind,
  here,
  level = 2,
}: {
  feature: string;
  label: string;
  kind: NameKind;
  /** What it does at a place of a prompt, as a node of the graph has it. */
  here?: string | null | undefined;
  level?: 1 | 2;
}) {
  const [named, shown] = [nameOf(feature, label, kind), nameAt(feature, label, kind, here)];
  if (labelling.value === feature)
    return <Editor feature={feature} text={named.kind === "promoted" ? "" : named.text} />;
  const Title = level === 1 ? "h1" : "h2";
  return (
    <>
      <div class="featurename">
        <Title>{shown.text || feature}</Title>
        <KindMark kind={shown.kind} />
        {!embedded && (
          <button
            type="button"
            class="quiet"
            title={t("Write a label (l)")}
            onClick={() => (labelling.value = feature)}
          >
            {t("Label")} <Kbd>l</Kbd>
          </button>
        )}
      </div>
      {shown.note && <p class="general">{shown.note}</p>}
    </>
  );
}

/** Opens the label editor of a feature and gives it the focus, or says why that cannot be. */
export function writeLabelOf(feature: string): void {
  if (embedded) return refuse(t("This file is for reading: labels are written in the workbench."));
  labelling.value = feature;
  opening.value = true;
  setTimeout(() => {
    opening.value = false;
    const field = document.querySelector<HTMLInputElement>(".labeleditor > input");
    if (field) return field.focus();
    labelling.value = null;
    refuse(t("{a} cannot be labelled here: its name is not on the page.", { a: feature }));
  });
}

function Editor({ feature, text }: { feature: string; text: string }) {
  const input = useRef<HTMLInputElement>(null);
  const [initialText] = useState(text); // fixed, so that a new name does not overwrite the person's text
  const [change, setChange] = useState<LabelChange | null>(null);
  const saving = useRef(false);
  useLayoutEffect(() => {
    requestCard(feature);
    input.current?.focus();
    input.current?.select();
  }, []);
  const save = async (event: Event) => {
    event.preventDefault();
    const entered = input.current?.value.trim();
    if (!entered) labelling.value = null;
    if (!entered || saving.current) return;
    saving.current = true;
    setChange(await writeLabel(feature, entered, change));
    saving.current = false;
  };
  const cancelOnEscape = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    labelling.value = null;
  };
  const changedText = russian.value?.changedLabels ?? en;
  return (
    <form class="labeleditor" onSubmit={(event) => void save(event)} onKeyDown={cancelOnEscape}>
      <input
        ref={input}
        type="text"
        defaultValue={initialText}
        maxLength={2000}
        aria-label={t("Label of {a}", { a: feature })}
        placeholder={t("What makes it fire?")}
        autocomplete="off"
      />
      {change && (
        <p class="wrong" role="alert" lang={language.value}>
          {change.newest ? changedText.now(change.newest.text) : changedText.withdrawn}
        </p>
      )}
      <div>
        <label>
          {" "}
          {t("by")}{" "}
          <input
            type="text"
            class="author"
            value={author.value}
            maxLength={200}
            aria-label={t("Your name")}
            onInput={(event) => (author.value = event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main">
          {t("Keep")}
        </button>
        <button type="button" onClick={() => (labelling.value = null)}>
          {t("Cancel")}
        </button>
      </div>
    </form>
  );
}
