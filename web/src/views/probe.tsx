// "Test your own text": the feature's activation at every token of what a person types.
import { useState } from "preact/hooks";
import { api } from "../api_client";
import { amount } from "../model/format";
import type { ProbeView } from "../types";
import { attempt } from "../state/app";
import { type Scale, Shaded } from "./contexts";
import { Heading } from "./widgets";

export function Probe({ feature, most, scale }: { feature: string; most: number | null; scale: Scale }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState<ProbeView | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async (event: Event) => {
    event.preventDefault();
    if (!text.trim() || busy) return;
    setBusy(true);
    setFound(await attempt(() => api.probe(feature, text)));
    setBusy(false);
  };
  const top = found ? Math.max(...found.activations) : 0;
  return (
    <>
      <Heading>Test your own text</Heading>
      <form class="probe" onSubmit={(event) => void run(event)}>
        <input
          type="text"
          value={text}
          placeholder="Type a text and press Enter"
          aria-label="A text to test the feature on"
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <button type="submit" disabled={busy}>
          Test
        </button>
      </form>
      {found && (
        <p class="probed" aria-live="polite">
          <Shaded
            tokens={found.tokens}
            activations={found.activations}
            most={most ?? found.max_activation ?? top}
            scale={scale}
          />
          <span class="note">
            {top > 0
              ? `largest here ${amount(top)}${most ? ` of ${amount(most)} in the corpus` : ""}`
              : "It does not fire on this text."}
          </span>
        </p>
      )}
    </>
  );
}
