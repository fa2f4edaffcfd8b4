// Maps keys of other alphabets to the Latin letter at the same place of the keyboard, so that shortcuts work
// everywhere.

interface KeyPress {
  key: string;
  code: string;
  shiftKey: boolean;
}

export function latinKey({ key, code, shiftKey }: KeyPress): string {
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  if (letter && key.length === 1 && key > "\x7f") return shiftKey ? letter : letter.toLowerCase();
  // ЙЦУКЕН has its full stop and comma on the key of the slash.
  if (code === "Slash" && (key === "." || key === ",")) return shiftKey ? "?" : "/";
  return key;
}
