// Names of features by rule in Russian: the server writes them in English, in the form that src/clew/labels/pattern.py
// describes, and this reads that form. A name of another form is a person's or a model's and stays as it is.

/** Kinds of words: as they are named, and in the genitive. */
const KINDS: Readonly<Record<string, readonly [nominative: string, genitive: string]>> = {
  "a number": ["число", "числа"],
  "a year": ["год", "года"],
  "a capitalised word": ["слово с заглавной буквы", "слова с заглавной буквы"],
  "a Cyrillic word": ["слово кириллицей", "слова кириллицей"],
  "a mark": ["знак", "знака"],
  "a country": ["страна", "страны"],
  "a capital": ["столица", "столицы"],
  "a city": ["город", "города"],
  "a language": ["язык", "языка"],
  "an animal": ["животное", "животного"],
  "a month": ["месяц", "месяца"],
  "an event": ["событие", "события"],
  "a thing": ["вещь", "вещи"],
  "a colour": ["цвет", "цвета"],
  "a job": ["профессия", "профессии"],
  "a food": ["еда", "еды"],
  "a weather": ["погода", "погоды"],
  "a trait": ["черта характера", "черты характера"],
  "an adjective": ["прилагательное", "прилагательного"],
  "a Russian adjective": ["русское прилагательное", "русского прилагательного"],
  "a girl's name": ["женское имя", "женского имени"],
  "a boy's name": ["мужское имя", "мужского имени"],
  "a first name": ["имя", "имени"],
  "a surname": ["фамилия", "фамилии"],
};
const NOMINATIVE = 0;
const GENITIVE = 1;

const kinds = Object.keys(KINDS)
  .sort((a, b) => b.length - a.length)
  .join("|");
const operand = String.raw`(?:"(?:[^"\\]|\\.)+"|(?:${kinds})(?!\w))`;
const operands = `(${operand}(?: or ${operand})*)`;

type Rule = readonly [english: RegExp, russian: string, case_: typeof NOMINATIVE | typeof GENITIVE, joint: string];

/** What stands at the front of what is left, and how it is said; the longer of two that begin alike comes first. */
const RULES: readonly Rule[] = [
  [/^the first token of a text/, "первый токен текста", NOMINATIVE, " "],
  [/^token (\d+) of a text/, "токен {} текста", NOMINATIVE, " "],
  [new RegExp(`^the start of ${operands}`), "начало {}", GENITIVE, " "],
  [new RegExp(`^inside ${operands}`), "внутри {}", GENITIVE, " "],
  [new RegExp(`^the end of ${operands}`), "конец {}", GENITIVE, " "],
  [/^a repeated word/, "повторённое слово", NOMINATIVE, " "],
  [new RegExp(`^says ${operands}`), "говорит: {}", NOMINATIVE, ", "],
  [new RegExp(`^soon after ${operands}`), "вскоре после {}", GENITIVE, " "],
  [new RegExp(`^after ${operands}`), "после {}", GENITIVE, " "],
  [new RegExp(`^soon before ${operands}`), "незадолго до {}", GENITIVE, " "],
  [new RegExp(`^before ${operands}`), "прямо до {}", GENITIVE, " "],
  [new RegExp(`^with ${operands} before`), "раньше: {}", NOMINATIVE, ", "],
  [new RegExp(`^the token ${operands}`), "токен {}", NOMINATIVE, " "],
  [new RegExp(`^${operands}`), "{}", NOMINATIVE, " "],
];

function inCase(words: string, form: typeof NOMINATIVE | typeof GENITIVE): string {
  const parts = words.match(new RegExp(`${operand}|\\d+`, "g")) ?? [];
  return parts.map((part) => KINDS[part]?.[form] ?? part).join(" или ");
}

/** A pattern in Russian; null where it is worded in another way. */
function patternInRussian(text: string): string | null {
  let [rest, russian] = [text, ""];
  while (rest) {
    const rule = RULES.find(([english]) => english.test(rest));
    if (!rule) return null;
    const [english, form, of, joint] = rule;
    const match = english.exec(rest)!;
    russian += (russian && joint) + form.replace("{}", () => inCase(match[1] ?? "", of));
    const after = rest.slice(match[0].length);
    const space = /^,? /.exec(after);
    if (after && !space) return null;
    rest = after.slice(space?.[0].length ?? 0);
  }
  return russian || null;
}

/** A feature's name as the page shows it in Russian; a name that no rule made stays as it is. */
export function ruleNameInRussian(name: string): string {
  const promotes = /^promotes (.+)$/s.exec(name);
  if (promotes) return `продвигает ${promotes[1]}`;
  const whole = patternInRussian(name);
  if (whole) return whole;
  const writes = /^(.+), writes (\S+)$/s.exec(name);
  const pattern = writes && patternInRussian(writes[1]!);
  return pattern ? `${pattern}, пишет ${writes[2]}` : name;
}
