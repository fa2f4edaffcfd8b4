// A feature's name, and the line in which a person writes another. `l` opens it, Enter keeps it, Escape leaves it.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { NameKind } from "../types";
import { author, embedded, nameOf } from "../state/app";
import { labelling, writeLabel } from "../state/cards";
import { Kbd, KindMark } from "./parts";

export function FeatureName({ feature, label, kind, level = 2 }: { feature: string; label: string; kind: NameKind; level?: 1 | 2 }) {
  const named = nameOf(feature, label, kind);
  if (labelling.value === feature) return <Editor feature={feature} text={named.kind === "promoted" ? "" : named.text} />;
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
  useLayoutEffect(() => {
    line.current?.focus();
    line.current?.select();
  }, []);
  const keep = (event: Event) => {
    event.preventDefault();
    const said = line.current?.value.trim();
    if (said) void writeLabel(feature, said);
    else labelling.value = null;
  };
  const leave = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    labelling.value = null;
  };
  return (
    <form class="labeleditor" onSubmit={keep} onKeyDown={leave}>
      <input ref={line} type="text" defaultValue={text} maxLength={2000} aria-label={`Label of ${feature}`} placeholder="What makes it fire?" autocomplete="off" />
      <div>
        <label>
          by{" "}
          <input type="text" class="author" value={author.value} maxLength={200} aria-label="Your name" onInput={(event) => (author.value = event.currentTarget.value)} />
        </label>
        <button type="submit" class="main">Keep</button>
        <button type="button" onClick={() => (labelling.value = null)}>Cancel</button>
      </div>
    </form>
  );
}
