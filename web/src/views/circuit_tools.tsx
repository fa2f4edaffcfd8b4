// The toolbar over the explanation: undo, saving under a name, export of the figure and of the circuit.
import { useRef, useState } from "preact/hooks";
import { api } from "../api_client";
import { t } from "../i18n/text";
import { circuitCsv } from "../model/csv_file";
import { fileName, saveFile } from "../model/figure_file";
import { embedded } from "../state/app";
import {
  changesNow,
  circuit,
  groupChanges,
  groupName,
  measuring,
  redoGroupChange,
  saveCircuit,
  savePage,
  savedId,
  undoGroupChange,
} from "../state/circuit";
import { language } from "../state/language";
import { graphId } from "../state/trace";
import { figure } from "./circuit_figure";
import { FigureExports } from "./figure_exports";
import { Menu } from "./menu";
import { UndoButtons } from "./undo_buttons";

export function CircuitTools() {
  const changes = groupChanges.value;
  return (
    <>
      {!embedded && (
        <>
          <UndoButtons of={changes} undo={undoGroupChange} redo={redoGroupChange} />
          <Save />
        </>
      )}
      <CircuitExport />
    </>
  );
}

function Save() {
  const name = useRef<HTMLInputElement>(null);
  const [taken, setTaken] = useState("");
  const [open, setOpen] = useState(false);
  const send = async (replace: boolean) => {
    const text = name.current?.value.trim() ?? "";
    if (!text) return;
    if (await saveCircuit(text, replace)) {
      setOpen(false);
      setTaken("");
    } else setTaken(text);
  };
  if (!open)
    return (
      <button
        type="button"
        class="tool"
        id="savecircuit"
        disabled={!circuit.value || measuring.value}
        onClick={() => setOpen(true)}
      >
        {savedId.value && !changesNow.value.length
          ? t("Saved: {name}", { name: circuit.value?.name ?? "" })
          : t("Save as…")}
      </button>
    );
  return (
    <form class="saveform" onSubmit={(event) => (event.preventDefault(), void send(false))}>
      <input
        ref={(element) => {
          if (element && name.current !== element) element.focus();
          name.current = element;
        }}
        type="text"
        maxLength={80}
        aria-label={t("Name of this explanation")}
        placeholder={t("a name")}
        defaultValue={circuit.value?.name ?? ""}
        onKeyDown={(event) => event.key === "Escape" && (event.stopPropagation(), setOpen(false))}
      />
      <button type="submit">{t("Save")}</button>
      {taken && (
        <button type="button" class="wrong" onClick={() => void send(true)}>
          {t("Replace “{name}”", { name: taken })}
        </button>
      )}
      <button type="button" class="close" aria-label={t("Do not save")} onClick={() => setOpen(false)}>
        ✕
      </button>
    </form>
  );
}

function CircuitExport() {
  const view = circuit.value;
  if (!view) return null;
  const saved = view.saved && !changesNow.value.length ? view.saved : null;
  return (
    <Menu name={t("Export")}>
      {(close) => (
        <>
          <FigureExports
            drawing={() => figure.drawing}
            title={view.sentence[language.value].replaceAll("*", "")}
            prompt={view.prompt}
            close={close}
          />{" "}
          <li>
            <button
              type="button"
              onClick={() => {
                close();
                saveFile(new Blob([circuitCsv(view, groupName)], { type: "text/csv" }), fileName(view.prompt, "csv"));
              }}
            >
              <strong>{t("Table as CSV")}</strong>
              <small>{t("the groups with their numbers, and what makes what")}</small>
            </button>
          </li>
          {!embedded && (
            <li>
              <button type="button" onClick={() => (close(), void savePage())}>
                <strong>{t("One HTML file")}</strong>
                <small>{t("this explanation and its graph, with cards; opens anywhere, offline")}</small>
              </button>
            </li>
          )}
          {saved && (
            <li>
              <a href={api.circuitFile(graphId.value, saved)} download onClick={close}>
                <strong>{t("Circuit file")}</strong>
                <small>{t("for clew.Circuit.load")}</small>
              </a>
            </li>
          )}
        </>
      )}
    </Menu>
  );
}
