// Undo as a value: a present with what came before and what was undone. Nothing here knows what the states mean.

export interface UndoHistory<T> {
  readonly past: readonly T[];
  readonly present: T;
  readonly future: readonly T[];
}

const MAX_STEPS = 200;
const STORED_STEPS = 40; // steps either way that outlive a reload

export function begin<T>(present: T): UndoHistory<T> {
  return { past: [], present, future: [] };
}

/** A new present; what had been undone is forgotten. The same present again changes nothing. */
export function record<T>(history: UndoHistory<T>, present: T): UndoHistory<T> {
  if (Object.is(present, history.present)) return history;
  return { past: [...history.past, history.present].slice(-MAX_STEPS), present, future: [] };
}

/** A present from elsewhere (another tab, the server), which is not the person's own step. */
export function replace<T>(history: UndoHistory<T>, present: T): UndoHistory<T> {
  return { ...history, present };
}

export function undo<T>(history: UndoHistory<T>): UndoHistory<T> {
  const last = history.past.at(-1);
  if (last === undefined) return history;
  return { past: history.past.slice(0, -1), present: last, future: [history.present, ...history.future] };
}

export function redo<T>(history: UndoHistory<T>): UndoHistory<T> {
  const [next, ...rest] = history.future;
  if (next === undefined) return history;
  return { past: [...history.past, history.present], present: next, future: rest };
}

/** As text, for a place that outlives a reload. */
export function write<T>({ past, present, future }: UndoHistory<T>): string {
  return JSON.stringify({ past: past.slice(-STORED_STEPS), present, future: future.slice(0, STORED_STEPS) });
}

/** Takes kept steps up again if they led to this present; otherwise, and where the text is none of ours, begins anew. */
export function read<T>(
  text: string,
  present: T,
  isState: (value: unknown) => value is T,
  same: (a: T, b: T) => boolean,
): UndoHistory<T> {
  try {
    const {
      past,
      present: last,
      future,
    } = JSON.parse(text) as { past: unknown[]; present: unknown; future: unknown[] };
    if (past.every(isState) && isState(last) && future.every(isState) && same(last, present))
      return { past, present, future };
  } catch {
    // nothing was kept, or not by us
  }
  return begin(present);
}
