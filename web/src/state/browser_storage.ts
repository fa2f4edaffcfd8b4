// What the browser keeps for the page: until it is cleared, or for as long as the tab is open.

/** Storage that survives a reload: of the browser, or of this tab only. */
type Place = "localStorage" | "sessionStorage";

export function recall(key: string, place: Place = "localStorage"): string {
  try {
    return window[place].getItem(key) ?? "";
  } catch {
    return "";
  }
}

export function remember(key: string, value: string, place: Place = "localStorage"): void {
  try {
    window[place].setItem(key, value);
  } catch {
    // private windows may have no storage; the page works without it
  }
}
