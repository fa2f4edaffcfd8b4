// Undo as a value: a present with what came before and what was undone. Nothing here knows what the states mean.

export interface History<T> {
  readonly past: readonly T[];
  readonly present: T;
  readonly future: readonly T[];
}

const LONGEST = 200;

export function begin<T>(present: T): History<T> {
  return { past: [], present, future: [] };
}

/** A new present; what had been undone is forgotten. The same present again changes nothing. */
export function record<T>(history: History<T>, present: T): History<T> {
  if (Object.is(present, history.present)) return history;
  return { past: [...history.past, history.present].slice(-LONGEST), present, future: [] };
}

/** A present from elsewhere (another tab, the server), which is not the person's own step. */
export function replace<T>(history: History<T>, present: T): History<T> {
  return { ...history, present };
}

export function undo<T>(history: History<T>): History<T> {
  const last = history.past.at(-1);
  if (last === undefined) return history;
  return { past: history.past.slice(0, -1), present: last, future: [history.present, ...history.future] };
}

export function redo<T>(history: History<T>): History<T> {
  const [next, ...rest] = history.future;
  if (next === undefined) return history;
  return { past: [...history.past, history.present], present: next, future: rest };
}
