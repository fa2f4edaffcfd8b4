// Starts the page: connects the state to address and workspace, installs the shortcuts, renders.
import { t } from "./i18n/text";
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./app";
import { listenToKeys } from "./shortcuts";
import { embedded, notify, openWorkbench } from "./state/app";
import { persistEdits } from "./state/edit";
import { followExplanations } from "./state/explanations";
import { persistStep } from "./state/guide";
import { followLanguage } from "./state/language";
import { persistGraph } from "./state/persistence";
import { listenToDrops } from "./state/prompting";
import { route } from "./state/route";
import { connectStudies } from "./state/studies";
import { graph } from "./state/trace";
import "./style/base.css";
import "./style/trace.css";
import "./style/views.css";

const TITLES = {
  trace: "Trace",
  edit: "Edit",
  compare: "Compare",
  features: "Features",
  feature: "Feature",
  studies: "Studies",
  guide: "Guide",
  attention: "Attention",
} as const;

persistGraph();
followExplanations();
persistEdits();
persistStep();
connectStudies();
listenToKeys();
listenToDrops();
void openWorkbench();
effect(() => {
  const { view, id } = route.value;
  const prompt = graph.value?.view.prompt;
  const heading = view === "feature" ? id : view === "trace" && prompt ? prompt : t(TITLES[view]);
  document.title = embedded && view === "trace" ? embedded.title : `${heading} · Clew`;
});
// In Russian from the first picture on: there is none before its texts are here. (No await at the top of this module: what
// comes on demand imports from it, so that it would be cut into pieces.)
void followLanguage(() => notify("The Russian texts did not come: is the server still there?", "fail")).then(() =>
  render(<App />, document.getElementById("page")!),
);
