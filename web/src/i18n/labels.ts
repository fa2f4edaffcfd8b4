// The messages about a label that another tab changed in the meantime.
import type { Language } from "../state/language";

interface ChangedText {
  now: (text: string) => string;
  withdrawn: string;
}

export const CHANGED: Record<Language, ChangedText> = {
  en: {
    now: (text) =>
      `Another tab has changed this label meanwhile: it says “${text}” now. Yours is not kept yet; Keep puts it first, and both stay in sight.`,
    withdrawn: "Another tab has withdrawn this label meanwhile. Yours is not kept yet; Keep writes it.",
  },
  ru: {
    now: (text) =>
      `Тем временем эту метку изменили в другой вкладке: теперь она гласит «${text}». Ваша пока не сохранена; Keep поставит её первой, и видны будут обе.`,
    withdrawn: "Тем временем эту метку убрали в другой вкладке. Ваша пока не сохранена; Keep запишет её.",
  },
};
