// The steps of the guide and the type of its texts: a text missing in one language is a type error.
export const STEPS = ["trace", "feature", "card", "label", "error", "attribution", "off", "turn", "check"] as const;
export type StepName = (typeof STEPS)[number];

export interface StepText {
  title: string;
  teach: string;
  task: string;
  after: string;
  question?: string;
  choices?: readonly [string, string, string];
}

export interface GuideText {
  title: string;
  intro: string;
  start: string;
  resume: string;
  next: string;
  back: string;
  leave: string;
  doIt: string;
  done: string;
  step: (n: number, of: number) => string;
  finished: string;
  steps: Record<StepName, StepText>;
}
