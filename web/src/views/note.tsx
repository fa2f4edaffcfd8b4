// A person's note on a graph or on a feature: written where it is read, saved after a pause. What another tab has
// written meanwhile is shown, and nothing is overwritten.
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, api } from "../api_client";
import { t } from "../i18n/text";
import { ago } from "../model/format";
import { attempt, embedded } from "../state/app";
import type { Note } from "../types";
import { Heading } from "./widgets";

const PAUSE = 700; // milliseconds after the last key until a note is saved

/** `address` is `graphs/ID`, or `features/L3/1207`. */
export function NoteOn({ address }: { address: string }) {
  return embedded ? null : <Editor key={address} address={address} />;
}

function Editor({ address }: { address: string }) {
  const [newest, setNewest] = useState<Note | null>(null);
  const [text, setText] = useState("");
  const [theirs, setTheirs] = useState<Note | null>(null);
  /** What is not saved yet, and over which note; beside the state because it is saved when the editor goes, too. */
  const draft = useRef<{ text: string; over: Note } | null>(null);
  const timer = useRef(0);
  const show = (note: Note) => {
    setNewest(note);
    if (draft.current) draft.current.over = note;
    else setText(note.text);
  };
  const save = async () => {
    clearTimeout(timer.current);
    const sent = draft.current;
    if (!sent || sent.text === sent.over.text) return;
    draft.current = null;
    const kept = await attempt(() => api.writeNote(address, sent.text, sent.over.revision).catch(asConflict));
    if (kept && !("newest" in kept)) {
      setTheirs(null);
      return show(kept);
    }
    draft.current ??= sent;
    if (kept) setTheirs(kept.newest);
  };
  useEffect(() => {
    let active = true;
    void attempt(() => api.note(address)).then((note) => note && active && show(note));
    return () => {
      active = false;
      void save();
    };
  }, []);
  const type = (typed: string, over: Note) => {
    draft.current = { text: typed, over };
    setText(typed);
    clearTimeout(timer.current);
    if (!theirs || over === theirs) timer.current = window.setTimeout(() => void save(), over === theirs ? 0 : PAUSE);
  };
  if (!newest) return null;
  return (
    <section class="note-on" aria-label={t("Note")}>
      <Heading note={newest.text && newest.date ? ago(newest.date, Date.now()) : t("kept in the workspace")}>
        {t("Note")}
      </Heading>
      <textarea
        rows={Math.min(8, Math.max(2, text.split("\n").length))}
        maxLength={20_000}
        value={text}
        aria-label={t("Note")}
        placeholder={t("What you want to remember of it")}
        onInput={(event) => type(event.currentTarget.value, newest)}
        onBlur={() => !theirs && void save()}
      />
      {theirs && (
        <div class="wrong" role="alert">
          <p>{t("Another tab has written meanwhile: “{a}”. Yours is not kept yet.", { a: theirs.text })}</p>
          <p class="actions">
            <button type="button" onClick={() => type(both(theirs.text, text), theirs)}>
              {t("Keep both")}
            </button>
            <button type="button" onClick={() => ((draft.current = null), setTheirs(null), show(theirs))}>
              {t("Take theirs")}
            </button>
          </p>
        </div>
      )}
    </section>
  );
}

function both(others: string, text: string): string {
  return [others, text].filter(Boolean).join("\n\n");
}

function asConflict(error: unknown): { newest: Note } {
  if (error instanceof ApiError && error.status === 409) return error.body as { newest: Note };
  throw error;
}
