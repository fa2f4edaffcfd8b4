// A feature's name, and the line in which a person writes another. `l` opens it, Enter keeps it, Escape leaves it.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { CHANGED } from "../i18n/labels";
import type { NameKind } from "../types";
import { author, embedded, nameOf } from "../state/app";
import { type Changed, labelling, wantCard, writeLabel } from "../state/cards";
import { language } from "../state/guide";
import { Kbd, KindMark } from "./widgets";

export function FeatureName({
  feature,
  label,
  kind,
  level = 2,
}: {
  feature: string;
  label: string;
  kind: NameKind;
  level?: 1 | 2;
}) {
  const named = nameOf(feature, label, kind);
  if (labelling.value === feature)
    return <Editor feature={feature} text={named.kind === "promoted" ? "" : named.text} />;
  const Title = level === 1 ? "h1" : "h2";
  return (
    <div class="featurename">
      <Title>{named.text || feature}</Title>
      <KindMark kind={named.kind} />
      {!embedded && (
        <button type="button" class="quiet" title="Write a label (l)" onClick={() => (labelling.value = feature)}>
          Label <Kbd>l</Kbd>
        </button>
      )}
    </div>
  );
}

function Editor({ feature, text }: { feature: string; text: string }) {
  const line = useRef<HTMLInputElement>(null);
  const [first] = useState(text); // a name that changes meanwhile never takes the place of what is being written
  const [told, setTold] = useState<Changed | null>(null);
  const sending = useRef(false);
  useLayoutEffect(() => {
    wantCard(feature);
    line.current?.focus();
    line.current?.select();
  }, []);
  const keep = async (event: Event) => {
    event.preventDefault();
    const said = line.current?.value.trim();
    if (!said) labelling.value = null;
    if (!said || sending.current) return;
    sending.current = true;
    setTold(await writeLabel(feature, said, told));
    sending.current = false;
  };
  const leave = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    labelling.value = null;
  };
  return (
    <form class="labeleditor" onSubmit={(event) => void keep(event)} onKeyDown={leave}>
      <input
        ref={line}
        type="text"
        defaultValue={first}
        maxLength={2000}
        aria-label={`Label of ${feature}`}
        placeholder="What makes it fire?"
        autocomplete="off"
      />
      {told && (
        <p class="wrong" role="alert" lang={language.value}>
          {told.newest ? CHANGED[language.value].now(told.newest.text) : CHANGED[language.value].withdrawn}
        </p>
      )}
      <div>
        <label>
          by{" "}
          <input
            type="text"
            class="author"
            value={author.value}
            maxLength={200}
            aria-label="Your name"
            onInput={(event) => (author.value = event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main">
          Keep
        </button>
        <button type="button" onClick={() => (labelling.value = null)}>
          Cancel
        </button>
      </div>
    </form>
  );
}
