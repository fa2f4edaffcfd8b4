// What the server says in English and the page shows in its own words: examples, notes of progress, verdicts. What is not
// here is shown as it comes.
export const OF_SERVER: Readonly<Record<string, string>> = {
  // examples
  "A capital": "Столица",
  "One hop: from a country to its capital.": "Один шаг: от страны к её столице.",
  "Two hops": "Два шага",
  "From a city to its country to its capital.": "От города к его стране и к её столице.",
  "A language": "Язык страны",
  "From a country to its language.": "От страны к её языку.",
  "An opposite": "Противоположность",
  "Two words that exclude each other.": "Два слова, которые исключают друг друга.",
  Translation: "Перевод",
  "A Russian word in English.": "Русское слово по-английски.",
  Russian: "По-русски",
  "The same fact in another language.": "Тот же факт на другом языке.",
  "A sum": "Сумма",
  "Arithmetic with two-digit tokens.": "Арифметика с токенами из двух цифр.",
  "Greater than": "Больше",
  "Only years after the first one make sense.": "Смысл имеют только годы после первого.",
  "A graduate student": "Аспирант",
  "A persona that answers; compare it with the preschooler.": "Персонаж, который отвечает; сравните с дошкольником.",
  "A preschooler": "Дошкольник",
  "A persona that only knows perfect squares.": "Персонаж, который знает только полные квадраты.",
  "Odd or even": "Чётное или нечётное",
  "Parity of a number.": "Чётность числа.",
  "A trait": "Черта характера",
  "From what people do to what they are like.": "От того, что люди делают, к тому, какие они.",
  "Indirect object": "Кому",
  "Who is spoken of.": "О ком речь.",

  // notes of progress, verdicts of claims
  "measuring groups": "группы измеряются",
  "tracing the other prompt": "разбор другого текста",
  holds: "держится",
  fails: "не держится",
  "cannot say": "нельзя сказать",
};
