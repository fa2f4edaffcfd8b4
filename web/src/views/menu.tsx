// A button that opens a list. Arrow keys move in it; Escape closes it and returns the focus to the button.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

export function Menu({
  name,
  label,
  children,
}: {
  name: string;
  /** What is read aloud in place of the name, where the name alone says too little. */
  label?: string;
  children: (close: () => void) => ComponentChildren;
}) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const closeOutside = (event: Event) => !box.current?.contains(event.target as globalThis.Node) && setOpen(false);
    const closeOnEscape = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      setOpen(false);
      box.current?.querySelector("button")?.focus();
    };
    document.addEventListener("pointerdown", closeOutside);
    // Captured, so that it works when the focused element was removed.
    document.addEventListener("keydown", closeOnEscape, { capture: true });
    return () => {
      document.removeEventListener("pointerdown", closeOutside);
      document.removeEventListener("keydown", closeOnEscape, { capture: true });
    };
  }, [open]);
  const onKey = (event: KeyboardEvent) => {
    const items = [...(box.current?.querySelectorAll<HTMLElement>("ul button, ul a") ?? [])];
    const next = open ? nextIndex(event.key, items.indexOf(document.activeElement as HTMLElement), items.length) : null;
    if (next !== null) {
      event.preventDefault();
      items[next]?.focus();
    } else if (event.key === "ArrowDown" && !open) {
      event.preventDefault();
      setOpen(true);
    }
  };
  return (
    <div class="menu" ref={box} onKeyDown={onKey}>
      <button type="button" aria-label={label} aria-expanded={open} aria-haspopup="true" onClick={() => setOpen(!open)}>
        {name} ▾
      </button>
      {open && <ul>{children(() => setOpen(false))}</ul>}
    </div>
  );
}

/** The index that a key moves to in a list, from `index` (-1 for the button above it); null for other keys. */
export function nextIndex(key: string, index: number, length: number): number | null {
  if (key === "ArrowDown") return Math.min(length - 1, index + 1);
  if (key === "ArrowUp") return Math.max(0, index - 1);
  if (key === "Home") return 0;
  return key === "End" ? length - 1 : null;
}
