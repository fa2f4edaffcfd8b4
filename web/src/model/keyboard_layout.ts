// Which key a person means: the letter that stands there on a Latin layout where theirs writes another alphabet. Pure.

interface KeyPress {
  key: string;
  code: string;
  shiftKey: boolean;
}

export function latinKey({ key, code, shiftKey }: KeyPress): string {
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  if (letter && key.length === 1 && key > "\x7f") return shiftKey ? letter : letter.toLowerCase();
  if (code === "Slash" && (key === "." || key === ",")) return shiftKey ? "?" : "/"; // as ЙЦУКЕН has it
  return key;
}
