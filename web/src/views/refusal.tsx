// The dialog for a key that leads to a text field where there is none: it takes the keys that the person types for the
// field, so that they are not read as commands. Escape or Enter closes it.
import { t } from "../i18n/text";
import { useLayoutEffect, useRef } from "preact/hooks";
import { refusal } from "../state/app";

export function Refusal() {
  const box = useRef<HTMLDialogElement>(null);
  const reason = refusal.value;
  useLayoutEffect(() => {
    if (reason === null) return;
    box.current?.showModal();
    box.current?.focus(); // not the button: a space that is typed would press it
  }, [reason !== null]);
  if (reason === null) return null;
  const close = () => (refusal.value = null);
  return (
    <dialog
      ref={box}
      class="refusal"
      tabIndex={-1}
      role="alertdialog"
      aria-labelledby="refusal-reason"
      onClose={close}
      onKeyDown={(event) => event.key === "Enter" && close()}
    >
      <p id="refusal-reason">{reason}</p>
      <button type="button" class="main" onClick={close}>
        {t("Close")} <kbd>Esc</kbd>
      </button>
    </dialog>
  );
}
