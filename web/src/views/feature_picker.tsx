// Finding a feature while editing, by words, by meaning, by what fires on a text, or by id: a line with answers below it.
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused, api } from "../api_client";
import type { FeatureRow } from "../types";
import { nameOf, workbench } from "../state/app";
import { prompt } from "../state/edit";
import { KindMark } from "./widgets";

type How = "words" | "meaning" | "fires";

const WAYS: readonly { how: How; name: string; asks: string; wait: number }[] = [
  { how: "words", name: "Words", asks: "Add a feature: words of its label, or L3/1207", wait: 150 },
  { how: "meaning", name: "Meaning", asks: "Add a feature: what it should mean", wait: 300 },
  { how: "fires", name: "Fires on", asks: "Add a feature: a text that it fires on", wait: 300 },
];
const MOST = 8;
const BUSY = 429;

interface Found {
  list: readonly FeatureRow[];
  said: string;
}
const NONE: Found = { list: [], said: "" };

/** What is found for a text, once a person rests; a busy server is asked again. */
function useFound(how: How, text: string, exact: boolean): Found {
  const [found, setFound] = useState<Found>(NONE);
  useEffect(() => {
    if (!text.trim() || exact) return setFound(NONE);
    const mine = new AbortController();
    const ask = () =>
      api.features({ how, query: text, limit: MOST }, mine.signal).then(
        ({ features, total }) => setFound({ list: features, said: total ? "" : "Nothing is found." }),
        (error: unknown) => {
          if (mine.signal.aborted || !(error instanceof Refused)) return;
          setFound({ list: [], said: error.message });
          if (error.status === BUSY) timer = setTimeout(ask, 2000); // labels are read for their meaning once
        },
      );
    let timer = setTimeout(ask, WAYS.find((each) => each.how === how)!.wait);
    return () => (clearTimeout(timer), mine.abort());
  }, [text, how]);
  return found;
}

export function FeaturePicker({ onPick }: { onPick: (feature: string) => void }) {
  const [how, setHow] = useState<How>("words");
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const line = useRef<HTMLInputElement>(null);
  const exact = /^L\d+\/\d+$/.test(text.trim());
  const { list, said } = useFound(how, text, exact);
  useEffect(() => setAt(0), [list]);
  const { asks } = WAYS.find((each) => each.how === how)!;
  const pick = (feature: string) => {
    onPick(feature);
    setText("");
  };
  /** What fires is mostly asked of the prompt that is edited. */
  const turn = (next: How) => {
    if (next === "fires" && !text.trim()) setText(prompt.peek());
    else if (how === "fires" && text === prompt.peek()) setText("");
    setHow(next);
    line.current?.focus();
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
      <div class="segments" role="group" aria-label="How a feature is looked for">
        {WAYS.filter((each) => each.how !== "meaning" || workbench.value?.kit.has_meaning).map((each) => (
          <button key={each.how} type="button" aria-pressed={each.how === how} onClick={() => turn(each.how)}>
            {each.name}
          </button>
        ))}
      </div>
      <div class="pickline">
        <input
          type="search"
          id="picker"
          ref={line}
          value={text}
          placeholder={asks}
          role="combobox"
          aria-label={asks}
          aria-expanded={list.length > 0}
          aria-controls="picked"
          aria-activedescendant={list[at] ? `picked-${at}` : undefined}
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKey}
        />
        {list.length > 0 && <Options list={list} at={at} why={how === "fires"} pick={pick} />}
      </div>
      {said && (
        <p class="note" role="status">
          {said}
        </p>
      )}
    </div>
  );
}

function Options({
  list,
  at,
  why,
  pick,
}: {
  list: readonly FeatureRow[];
  at: number;
  why: boolean;
  pick: (feature: string) => void;
}) {
  return (
    <ul id="picked" role="listbox" aria-label="Features found">
      {list.map((each, i) => {
        const named = nameOf(each.feature, each.label, each.label_kind);
        return (
          <li
            key={each.feature}
            id={`picked-${i}`}
            role="option"
            aria-selected={i === at}
            onPointerDown={(event) => (event.preventDefault(), pick(each.feature))}
          >
            <span class="what">
              {named.text || each.feature} <KindMark kind={named.kind} /> {why && <em>{each.why}</em>}
            </span>{" "}
            <code>{each.feature}</code>
          </li>
        );
      })}
    </ul>
  );
}
