// Shown in place of a card that is loading, failed to load, or is not in the exported file.
import { t } from "../i18n/text";
import { embedded } from "../state/app";
import { cardErrors, retryCard } from "../state/cards";

export function NoCard({ feature }: { feature: string }) {
  const reason = cardErrors.value.get(feature);
  if (embedded) return <p class="note">{t("This file carries no card of this feature.")}</p>;
  if (!reason) return <p class="note">{t("Reading the card…")}</p>;
  return (
    <p class="wrong" role="alert">
      {reason}.{" "}
      <button type="button" class="link" onClick={() => retryCard(feature)}>
        {t("Try again")}
      </button>
    </p>
  );
}
