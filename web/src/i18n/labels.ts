// The messages about a label that another tab changed in the meantime.
export interface ChangedText {
  now: (text: string) => string;
  withdrawn: string;
}

export const en: ChangedText = {
  now: (text) =>
    `Another tab has changed this label meanwhile: it says “${text}” now. Yours is not kept yet; Keep puts it first, and both stay in sight.`,
  withdrawn: "Another tab has withdrawn this label meanwhile. Yours is not kept yet; Keep writes it.",
};
