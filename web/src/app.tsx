// The frame of the page: header with navigation, kit and theme; the present view; notices; the guide's coach.
import { type Text, t } from "./i18n/text";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { View } from "./state/route";
import { dark, dismiss, embedded, helpOpen, notices, announcement, switchTheme } from "./state/app";
import { LANGUAGES, language, setLanguage } from "./state/language";
import { lastAddress, route, write } from "./state/route";
import { editAddress } from "./state/edit";
import { stepName } from "./state/guide";
import { graph, graphId } from "./state/trace";
import { Feature } from "./views/feature";
import { KitPicker } from "./views/kit_picker";
import { onDemand } from "./views/on_demand";
import { Refusal } from "./views/refusal";
import { Trace } from "./views/trace";

const Help = onDemand(() => import("./views/help").then((module) => module.Help));
// In a self-contained file there is no server for these, and the condition leaves them out of its script.
const IN_FILE = import.meta.env.MODE === "file";
const Nothing = () => null;
const Compare = IN_FILE ? Nothing : onDemand(() => import("./views/compare").then((module) => module.Compare));
const Edit = IN_FILE ? Nothing : onDemand(() => import("./views/edit").then((module) => module.Edit));
const Features = IN_FILE ? Nothing : onDemand(() => import("./views/features").then((module) => module.Features));
const Studies = IN_FILE ? Nothing : onDemand(() => import("./views/studies").then((module) => module.Studies));
const Guide = IN_FILE ? Nothing : onDemand(() => import("./views/guide").then((module) => module.Guide));
const Attention = IN_FILE ? Nothing : onDemand(() => import("./views/attention").then((module) => module.Attention));
const Coach = IN_FILE ? Nothing : onDemand(() => import("./views/guide").then((module) => module.Coach));

const PLACES: [View, Text][] = [
  ["trace", "Trace"],
  ["edit", "Edit"],
  ["compare", "Compare"],
  ["features", "Features"],
  ["studies", "Studies"],
  ["guide", "Guide"],
];

export function App() {
  const { view, id } = route.value;
  const main = useRef<HTMLElement>(null);
  useLayoutEffect(() => main.current?.scrollTo(0, 0), [view, id]); // a new view is scrolled to its top
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}
      >
        {t("Skip to the view")}
      </a>
      <header class="top">
        <a class="brand" href="#/trace" aria-label={t("Clew, start")}>
          <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
            <circle cx="14" cy="15" r="10.5" />
            <path d="M5 11c6-4 13-3 18 3M4 17c6-5 14-4 19 2M8 23c5-5 11-5 15-2M9 6c6 1 10 5 12 10M21 23c3 3 6 2 9 0" />
          </svg>
          <span>Clew</span>
        </a>
        {!embedded && <Places view={view} />}
        {embedded && view === "feature" && (
          <nav aria-label={t("Views")}>
            <a href="#/trace">{t("Graph")}</a>
          </nav>
        )}
        <span class="grow" />
        {embedded ? (
          <p class="kit">
            <span>{graph.value?.view.subject ?? ""}</span>
          </p>
        ) : (
          <KitPicker />
        )}
        <LanguageSwitch />
        <button
          type="button"
          class="icon"
          aria-label={dark.value ? t("Switch to light") : t("Switch to dark")}
          title={t("Light or dark (t)")}
          onClick={switchTheme}
        >
          ◐
        </button>
        <button
          type="button"
          class="icon"
          aria-label={t("Help and keys")}
          title={t("Help (?)")}
          onClick={() => (helpOpen.value = true)}
        >
          ?
        </button>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {view === "trace" && <Trace />}
        {view === "feature" && <Feature key={id} />}
        {view === "features" && !embedded && <Features />}
        {view === "edit" && !embedded && <Edit />}
        {view === "compare" && !embedded && <Compare />}
        {view === "studies" && !embedded && <Studies />}
        {view === "guide" && !embedded && <Guide />}
        {view === "attention" && !embedded && <Attention key={id} />}
      </main>
      {stepName.value && <Coach />}
      {helpOpen.value && <Help />}
      <Refusal />
      <div class="notices" role="status">
        {notices.value.map((each) => (
          <p key={each.id} class={each.kind}>
            {each.text}{" "}
            {each.action && (
              <button type="button" class="link" onClick={() => (dismiss(each.id), each.action!.run())}>
                {each.action.name}
              </button>
            )}
            <button type="button" class="close" aria-label={t("Dismiss")} onClick={() => dismiss(each.id)}>
              ✕
            </button>
          </p>
        ))}
      </div>
      <div class="unseen" aria-live="polite">
        {announcement.value}
      </div>
    </>
  );
}

/** A button that names the other language in that language. */
function LanguageSwitch() {
  const other = language.value === "en" ? "ru" : "en";
  return (
    <button type="button" class="quiet" lang={other} onClick={() => setLanguage(other)}>
      {LANGUAGES[other]}
    </button>
  );
}

/** Links to the views. The open graph restores its own state, other views their last settings. */
function Places({ view }: { view: View }) {
  return (
    <nav aria-label={t("Views")}>
      {PLACES.map(([name, title]) => {
        const here =
          view === name || (name === "features" && view === "feature") || (name === "trace" && view === "attention");
        const to =
          name === "trace"
            ? write({ view: name, id: graphId.value, query: {} })
            : name === "edit"
              ? editAddress.value
              : lastAddress(name);
        return (
          <a key={name} href={to} aria-current={here ? "page" : undefined}>
            {" "}
            {t(title)}
          </a>
        );
      })}
    </nav>
  );
}
