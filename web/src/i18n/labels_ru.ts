// The messages about a label that another tab changed in the meantime, in Russian.
import type { ChangedText } from "./labels";

export const ru: ChangedText = {
  now: (text) =>
    `Тем временем эту метку изменили в другой вкладке: теперь она гласит «${text}». Ваша пока не сохранена; Keep поставит её первой, и видны будут обе.`,
  withdrawn: "Тем временем эту метку убрали в другой вкладке. Ваша пока не сохранена; Keep запишет её.",
};
