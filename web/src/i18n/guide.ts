// The texts of the guide in its languages.
import type { Language } from "../state/language";
import { en } from "./guide_en";
import type { GuideText } from "./guide_steps";
import { ru } from "./guide_ru";

export const GUIDES: Record<Language, GuideText> = { en, ru };
