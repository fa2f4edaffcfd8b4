// All that is Russian in one module, which is fetched only where the page is read in Russian.
export { ruleNameInRussian } from "./rule_names_ru";
export { RUSSIAN } from "./russian";
export { OF_SERVER } from "./russian_server";
export { ru as explanations } from "./explanations_ru";
export { ru as changedLabels } from "./labels_ru";
