// Searches for a feature to edit by words, by meaning, by what fires on a text, or by id: a text field with a list.
import { type Text, t } from "../i18n/text";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api } from "../api_client";
import type { FeatureRow } from "../types";
import { nameOf, workbench } from "../state/app";
import { addBos, prompt } from "../state/edit";
import { KindMark } from "./widgets";

type SearchMode = "words" | "meaning" | "fires";

const MODES: readonly { mode: SearchMode; name: Text; placeholder: Text; wait: number }[] = [
  { mode: "words", name: "Words", placeholder: "Add a feature: words of its label, or L3/1207", wait: 150 },
  { mode: "meaning", name: "Meaning", placeholder: "Add a feature: what it should mean", wait: 300 },
  { mode: "fires", name: "Fires on", placeholder: "Add a feature: a text that it fires on", wait: 300 },
];
const MAX_RESULTS = 8;
const BUSY = 429;

interface SearchResult {
  list: readonly FeatureRow[];
  message: string;
}
const NO_RESULT: SearchResult = { list: [], message: "" };

/** The features found for a text, after a pause in typing; a text on which they fire begins as the prompt does. A busy
 *  server is asked again. */
function useSearch(mode: SearchMode, text: string, isFeatureId: boolean): SearchResult {
  const [result, setResult] = useState<SearchResult>(NO_RESULT);
  const add_bos = mode === "fires" ? addBos.value : undefined;
  useEffect(() => {
    if (!text.trim() || isFeatureId) return setResult(NO_RESULT);
    const request = new AbortController();
    const search = () =>
      api.features({ how: mode, query: text, add_bos, limit: MAX_RESULTS }, request.signal).then(
        ({ features, total }) => setResult({ list: features, message: total ? "" : t("Nothing is found.") }),
        (error: unknown) => {
          if (request.signal.aborted || !(error instanceof ApiError)) return;
          setResult({ list: [], message: error.message });
          // Busy: the server is embedding the labels, which it does once.
          if (error.status === BUSY) timer = setTimeout(search, 2000);
        },
      );
    let timer = setTimeout(search, MODES.find((each) => each.mode === mode)!.wait);
    return () => (clearTimeout(timer), request.abort());
  }, [text, mode, add_bos]);
  return result;
}

export function FeaturePicker({ onPick }: { onPick: (feature: string) => void }) {
  const [mode, setHow] = useState<SearchMode>("words");
  const [text, setText] = useState("");
  const [active, setActive] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const isFeatureId = /^L\d+\/\d+$/.test(text.trim());
  const { list, message } = useSearch(mode, text, isFeatureId);
  useEffect(() => setActive(0), [list]);
  const { placeholder } = MODES.find((each) => each.mode === mode)!;
  const pick = (feature: string) => {
    onPick(feature);
    setText("");
  };
  /** Changes the search mode. "Fires on" starts with the prompt, the usual text to search by. */
  const switchMode = (next: SearchMode) => {
    if (next === "fires" && !text.trim()) setText(prompt.peek());
    else if (mode === "fires" && text === prompt.peek()) setText("");
    setHow(next);
    input.current?.focus();
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      setActive(Math.max(0, Math.min(list.length - 1, active + (event.key === "ArrowDown" ? 1 : -1))));
      event.preventDefault();
    } else if (event.key === "Enter" && (isFeatureId || list[active])) {
      event.preventDefault();
      pick(isFeatureId ? text.trim() : list[active]!.feature);
    } else if (event.key === "Escape" && text) {
      event.stopPropagation();
      setText("");
    }
  };
  return (
    <div class="picker">
      <div class="segments" role="group" aria-label={t("How a feature is looked for")}>
        {MODES.filter((each) => each.mode !== "meaning" || workbench.value?.kit.has_meaning).map((each) => (
          <button key={each.mode} type="button" aria-pressed={each.mode === mode} onClick={() => switchMode(each.mode)}>
            {" "}
            {t(each.name)}
          </button>
        ))}
      </div>
      <div class="pickline">
        <input
          type="search"
          id="picker"
          ref={input}
          value={text}
          placeholder={t(placeholder)}
          role="combobox"
          aria-label={t(placeholder)}
          aria-expanded={list.length > 0}
          aria-controls="picked"
          aria-activedescendant={list[active] ? `picked-${active}` : undefined}
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKey}
        />
        {list.length > 0 && <Options list={list} active={active} showReason={mode === "fires"} pick={pick} />}
      </div>
      {message && (
        <p class="note" role="status">
          {message}
        </p>
      )}
    </div>
  );
}

function Options({
  list,
  active,
  showReason,
  pick,
}: {
  list: readonly FeatureRow[];
  active: number;
  showReason: boolean;
  pick: (feature: string) => void;
}) {
  return (
    <ul id="picked" role="listbox" aria-label={t("Features found")}>
      {list.map((each, i) => {
        const named = nameOf(each.feature, each.label, each.label_kind);
        return (
          <li
            key={each.feature}
            id={`picked-${i}`}
            role="option"
            aria-selected={i === active}
            onPointerDown={(event) => (event.preventDefault(), pick(each.feature))}
          >
            <span class="what">
              {named.text || each.feature} <KindMark kind={named.kind} /> {showReason && <em>{each.why}</em>}
            </span>{" "}
            <code>{each.feature}</code>
          </li>
        );
      })}
    </ul>
  );
}
