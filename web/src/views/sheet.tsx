// On a narrow page the panel is a sheet at the bottom: its handle opens and closes it.
import { effect, signal } from "@preact/signals";
import { chosenGroup, pane } from "../state/circuit";
import { primary, query } from "../state/trace";

export const sheetOpen = signal(false);

/** Something that is chosen opens the sheet, and nothing chosen closes it. */
effect(() => {
  sheetOpen.value =
    pane.value === "explanation" ? chosenGroup.value !== "" : primary.value !== null || query.value !== "";
});

export function SheetHandle({ title }: { title: string }) {
  return (
    <button
      type="button"
      class="sheethandle"
      aria-expanded={sheetOpen.value}
      aria-controls="panel"
      onClick={() => (sheetOpen.value = !sheetOpen.value)}
    >
      <span>{title}</span>
      <span aria-hidden="true">{sheetOpen.value ? "▾" : "▴"}</span>
    </button>
  );
}
