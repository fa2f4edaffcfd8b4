// The lists that a feature is in, on its card: put it into one, or take it out.
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n/text";
import { embedded } from "../state/app";
import { lists, loadLists, putInList, takeFromList } from "../state/lists";
import { go } from "../state/route";
import { Heading } from "./widgets";

export function FeatureLists({ feature }: { feature: string }) {
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => void loadLists(), []);
  if (embedded || !lists.value) return null;
  const has = lists.value.filter((list) => list.features.some((each) => each.feature === feature));
  const put = (event: Event) => {
    event.preventDefault();
    const name = field.current?.value.trim();
    if (!name) return field.current?.focus();
    field.current!.value = "";
    void putInList(name, feature);
  };
  return (
    <section aria-label={t("Lists")}>
      <Heading>{t("Lists")}</Heading>
      {has.length > 0 && (
        <ul class="listchips">
          {has.map(({ name }) => (
            <li key={name}>
              <button type="button" class="link" onClick={() => go("features", "", { how: "list", query: name })}>
                {name}
              </button>
              <button
                type="button"
                class="close"
                aria-label={t("Take it out of “{a}”", { a: name })}
                onClick={() => void takeFromList(name, feature)}
              >
                ✕
              </button>
            </li>
          ))}
        </ul>
      )}
      <form class="putinlist" onSubmit={put}>
        <input
          ref={field}
          type="text"
          list="lists"
          maxLength={100}
          aria-label={t("Name of a list")}
          placeholder={t("a list, old or new")}
          autocomplete="off"
        />
        <datalist id="lists">
          {lists.value.map(({ name }) => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <button type="submit">{t("Put it in")}</button>
      </form>
    </section>
  );
}
