// Undo as a value: the present state, the past ones, and those that were undone. Generic in the type of the state.

export interface UndoHistory<T> {
  readonly past: readonly T[];
  readonly present: T;
  readonly future: readonly T[];
}

const MAX_STEPS = 200;
const STORED_STEPS = 40; // steps in each direction that are stored for a reload

export function begin<T>(present: T): UndoHistory<T> {
  return { past: [], present, future: [] };
}

/** Adds a step and drops those that were undone. The same state again is no step. */
export function record<T>(history: UndoHistory<T>, present: T): UndoHistory<T> {
  if (Object.is(present, history.present)) return history;
  return { past: [...history.past, history.present].slice(-MAX_STEPS), present, future: [] };
}

/** Replaces the present by a state from another tab, which is not a step to undo. */
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

/** Serialises the history for the tab's storage. */
export function write<T>({ past, present, future }: UndoHistory<T>): string {
  return JSON.stringify({ past: past.slice(-STORED_STEPS), present, future: future.slice(0, STORED_STEPS) });
}

/** Restores a stored history if it ends in this present; otherwise, or if the text is not valid, begins a new one. */
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
    // nothing was stored, or the text is not a history
  }
  return begin(present);
}
