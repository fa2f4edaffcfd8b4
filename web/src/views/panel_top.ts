// Something new in the panel is read from its top, also where the page and not the panel scrolls. The focus, if what had
// it is gone, stays in the panel.
import { useEffect } from "preact/hooks";

export function usePanelTop(shown: string): void {
  useEffect(() => {
    const panel = document.getElementById("panel");
    if (!panel) return;
    panel.scrollTop = 0;
    if (panel.getBoundingClientRect().top < 0) panel.scrollIntoView();
    if (document.activeElement === document.body) panel.focus({ preventScroll: true });
  }, [shown]);
}
