// Finding a feature by words, meaning or id while editing: a line with answers below it.
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api_client";
import type { FeatureRow } from "../types";
import { nameOf } from "../state/app";
import { KindMark } from "./parts";

export function FeaturePicker({ onPick }: { onPick: (feature: string) => void }) {
  const [text, setText] = useState("");
  const [list, setList] = useState<readonly FeatureRow[]>([]);
  const [at, setAt] = useState(0);
  const asked = useRef<AbortController | null>(null);
  const exact = /^L\d+\/\d+$/.test(text.trim());
  useEffect(() => {
    asked.current?.abort();
    if (!text.trim() || exact) return setList([]);
    const mine = (asked.current = new AbortController());
    const timer = setTimeout(() => {
      api.features({ how: "words", query: text, limit: 8 }, mine.signal).then((found) => (setList(found.features), setAt(0)), () => undefined);
    }, 150);
    return () => clearTimeout(timer);
  }, [text]);
  const pick = (feature: string) => {
    onPick(feature);
    setText("");
    setList([]);
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      setAt(Math.max(0, Math.min(list.length - 1, at + (event.key === "ArrowDown" ? 1 : -1))));
      event.preventDefault();
    } else if (event.key === "Enter" && (exact || list[at])) {
      event.preventDefault();
      pick(exact ? text.trim() : list[at]!.feature);
    } else if (event.key === "Escape" && text) {
      event.stopPropagation();
      setText("");
    }
  };
  return (
    <div class="picker">
      <input
        type="search" id="picker" value={text} placeholder="Add a feature: words of its label, or L3/1207" role="combobox" aria-label="Add a feature"
        aria-expanded={list.length > 0} aria-controls="picked" aria-activedescendant={list[at] ? `picked-${at}` : undefined} autocomplete="off"
        onInput={(event) => setText(event.currentTarget.value)} onKeyDown={onKey}
      />
      {list.length > 0 && (
        <ul id="picked" role="listbox" aria-label="Features found">
          {list.map((each, i) => {
            const named = nameOf(each.feature, each.label, each.label_kind);
            return (
              <li key={each.feature} id={`picked-${i}`} role="option" aria-selected={i === at} onPointerDown={(event) => (event.preventDefault(), pick(each.feature))}>
                <span class="what">{named.text || each.feature} <KindMark kind={named.kind} /></span> <code>{each.feature}</code>
              </li>
            );
          })}
        </ul>
      )}
    </div>
  );
}
