// Undo and redo as the toolbars have them.
import { t } from "../i18n/text";
import type { UndoHistory } from "../model/undo_history";

export function UndoButtons({ of, undo, redo }: { of: UndoHistory<unknown>; undo: () => void; redo: () => void }) {
  return (
    <>
      <button
        type="button"
        class="icon"
        aria-label={t("Undo")}
        title={t("Undo (u)")}
        disabled={!of.past.length}
        onClick={undo}
      >
        ↶
      </button>
      <button
        type="button"
        class="icon"
        aria-label={t("Redo")}
        title={t("Redo (U)")}
        disabled={!of.future.length}
        onClick={redo}
      >
        ↷
      </button>
    </>
  );
}
