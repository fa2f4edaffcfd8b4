// The route in the address: `#/view/id?name=value`. Parsing and writing are pure; the signal follows the address bar.
import { signal } from "@preact/signals";

export const VIEWS = ["trace", "edit", "compare", "features", "feature", "studies", "guide", "attention"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  id: string;
  query: Readonly<Record<string, string>>;
}

export function parse(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#?\/?/, "").split(/\?(.*)/s);
  const [name = "", ...rest] = path.split("/");
  const view = (VIEWS as readonly string[]).includes(name) ? (name as View) : "trace";
  return { view, id: rest.map(decode).join("/"), query: Object.fromEntries(new URLSearchParams(search)) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a route. Empty values are left out; characters that are safe in a fragment are not escaped. */
export function write(route: Route): string {
  const id = route.id ? `/${route.id.split("/").map(encodeURIComponent).join("/")}` : "";
  const query = Object.entries(route.query)
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name}=${readable(encodeURIComponent(value))}`)
    .join("&");
  return `#/${route.view}${id}${query ? `?${query}` : ""}`;
}

function readable(text: string): string {
  return text.replace(/%(2F|40|2C|3A|3B|7E|7C|20)/g, (code) => (code === "%20" ? "+" : decodeURIComponent(code)));
}

export const route = signal<Route>(parse(typeof location === "undefined" ? "" : location.hash));

/** The last query of each view, so that a link to the view restores its settings. */
const lastQueries = new Map<View, Readonly<Record<string, string>>>();
/** The addresses in the browser's history that belong to this page: they show whether Back stays on it. */
let trail: string[] = [write(route.peek())];

/** The address of a view with its last settings. */
export function lastAddress(view: View): string {
  return write({ view, id: "", query: { ...lastQueries.get(view), guide: "" } });
}

/** Goes back one step; if that would leave the page, goes to the given view instead. */
export function back(view: View, id = ""): void {
  if (trail.length > 1) history.back();
  else go(view, id);
}

/** Adds an address to the trail. The last address but one means that the browser went back. */
export function extendTrail(steps: readonly string[], address: string): string[] {
  if (steps.at(-1) === address) return [...steps];
  return steps.at(-2) === address ? steps.slice(0, -1) : [...steps, address];
}

/** Goes to another view, as a new step in the browser's history. */
export function go(view: View, id = "", query: Record<string, string> = {}): void {
  location.hash = write({ view, id, query });
}

/** Changes the settings of the present view without a new step in the browser's history. */
export function adjust(query: Readonly<Record<string, string>>): void {
  const current = route.peek();
  if (Object.entries(query).every(([name, value]) => (current.query[name] ?? "") === value)) return;
  const merged: Record<string, string> = { ...current.query };
  for (const [name, value] of Object.entries(query)) {
    delete merged[name]; // the same settings are always written in the same order
    if (value !== "") merged[name] = value;
  }
  const next = { view: current.view, id: current.id, query: merged };
  const address = write(next);
  if (address === location.hash) return;
  trail = [...trail.slice(0, -1), address];
  lastQueries.set(next.view, next.query);
  route.value = next;
  try {
    history.replaceState(null, "", address);
  } catch {
    location.hash = address; // a page inside a frame may not be allowed to rewrite its history
  }
}

if (typeof window !== "undefined") {
  window.addEventListener("hashchange", () => {
    const next = parse(location.hash);
    trail = extendTrail(trail, write(next));
    lastQueries.set(next.view, next.query);
    if (write(next) !== write(route.peek())) route.value = next;
  });
}
