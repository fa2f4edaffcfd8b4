// "Test your own text": the feature's activation at every token of a text.
import { t } from "../i18n/text";
import { useState } from "preact/hooks";
import { api } from "../api_client";
import { amount, rowOf } from "../model/format";
import type { ProbeView } from "../types";
import { attempt } from "../state/app";
import { type Scale, Shaded } from "./contexts";
import { StartSwitch } from "./start_switch";
import { Heading } from "./widgets";

export function Probe({ feature, max, scale }: { feature: string; max: number | null; scale: Scale }) {
  const [text, setText] = useState("");
  const [withBos, setWithBos] = useState(true);
  const [probe, setProbe] = useState<ProbeView | null>(null);
  const [busy, setBusy] = useState(false);
  const run = async (event: Event) => {
    event.preventDefault();
    if (!text.trim() || busy) return;
    setBusy(true);
    setProbe(await attempt(() => api.probe(feature, text, withBos)));
    setBusy(false);
  };
  const top = probe ? Math.max(...probe.activations) : 0;
  return (
    <>
      <Heading>{t("Test your own text")}</Heading>
      <form class="probe" onSubmit={(event) => void run(event)}>
        <input
          type="text"
          value={text}
          placeholder={t("Type a text and press Enter")}
          aria-label={t("A text to test the feature on")}
          autocomplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <button type="submit" disabled={busy}>
          {t("Test")}
        </button>
      </form>
      {text.trim() && <StartSwitch on={withBos} set={setWithBos} />}
      {probe && (
        <p class="probed" aria-live="polite">
          <Shaded
            tokens={rowOf(probe)}
            activations={probe.activations}
            max={max ?? probe.max_activation ?? top}
            scale={scale}
          />
          <span class="note">
            {top > 0
              ? t("largest here {a}{b}", {
                  a: amount(top),
                  b: max ? t(" of {a} in the corpus", { a: amount(max) }) : "",
                })
              : t("It does not fire on this text.")}
          </span>
        </p>
      )}
    </>
  );
}
