// A switch beside a text: whether it begins with what the model's tokenizer puts in front of texts, its BOS token.
import { t } from "../i18n/text";
import { textStart } from "../state/app";

/** Nothing where the tokenizer puts nothing there. */
export function StartSwitch({ on, set }: { on: boolean; set: (on: boolean) => void }) {
  if (!textStart.value) return null;
  return (
    <label
      class="switch startswitch"
      title={t("The tokenizer puts it in front of a text; without it the text is read as it stands")}
    >
      <input type="checkbox" checked={on} onChange={(event) => set(event.currentTarget.checked)} />
      <span>
        {t("begin with")} <code>{textStart.value}</code>
      </span>
    </label>
  );
}
