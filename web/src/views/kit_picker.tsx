// The open kit, and which command serves another one. The server that runs keeps its kit: graphs of other tabs and its jobs
// belong to it.
import { useEffect, useState } from "preact/hooks";
import { api } from "../api_client";
import { type Text, t } from "../i18n/text";
import { announcement, attempt, notify, workbench } from "../state/app";
import type { KitChoices } from "../types";
import { Menu } from "./menu";

const ORIGINS: Record<KitChoices["kits"][number]["origin"], Text> = {
  bundled: "comes with Clew",
  workspace: "a folder of the workspace",
  extra: "an extra",
};

export function KitPicker() {
  const kit = workbench.value?.kit;
  if (!kit) return null;
  return (
    <div class="kit">
      <Menu name={kit.name} label={t("Kit {a}", { a: kit.name })}>
        {(close) => <Choices close={close} />}
      </Menu>
      <span>{t("{b} layers · {c}", { b: kit.n_layers, c: kit.dictionary_kind.toUpperCase() })}</span>
    </div>
  );
}

function Choices({ close }: { close: () => void }) {
  const [choices, setChoices] = useState<KitChoices | null>(null);
  useEffect(() => void attempt(api.kits).then((answer) => answer && setChoices(answer)), []);
  const copy = async (command: string) => {
    close();
    try {
      await navigator.clipboard.writeText(command);
      notify(t("Copied: {a}. Stop this server with Ctrl-C first, or add --port 0.", { a: command }));
    } catch {
      notify(t("Run in a terminal: {a}", { a: command }));
    }
    announcement.value = command;
  };
  return (
    <>
      <li class="note kitnote">
        {t("This server has one kit open. To open another one, copy its command and run it in a terminal.")}
      </li>
      {(choices?.kits ?? []).map((each) => (
        <li key={each.command}>
          <button type="button" onClick={() => void copy(each.command)}>
            <strong>
              {each.name}
              {each.origin === "bundled" && each.name === choices?.open ? ` · ${t("open now")}` : ""}
            </strong>
            <span class="mono">{each.command}</span>
            <small>{t(ORIGINS[each.origin])}</small>
          </button>
        </li>
      ))}
    </>
  );
}
