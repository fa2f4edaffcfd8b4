// Views that are fetched when they are first shown, so that the page itself is small and comes at once.
import { type ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import { t } from "../i18n/text";

type Part = ComponentType<object>;

/** A component that stands for one that `load` fetches; what was fetched once is there at once. */
export function onDemand(load: () => Promise<Part>): Part {
  const part = signal<Part | null>(null);
  const missing = signal(false);
  const fetch = () => {
    missing.value = false;
    load().then(
      (component) => (part.value = component),
      () => (missing.value = true),
    );
  };
  return function OnDemand() {
    useEffect(() => {
      if (!part.peek()) fetch();
    }, []);
    if (part.value) return <part.value />;
    if (!missing.value) return null;
    return (
      <div class="page">
        <p class="note wrong" role="alert">
          {t(
            "This view did not come: the server has stopped, or it is a newer one. Start it, then load the page again.",
          )}
        </p>
        <p class="actions">
          <button type="button" onClick={() => location.reload()}>
            {t("Load the page again")}
          </button>
        </p>
      </div>
    );
  };
}
