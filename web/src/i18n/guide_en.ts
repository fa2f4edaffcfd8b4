// The guide in English: for each step the explanation, the task, and the text after it.
import type { GuideText } from "./guide_steps";

export const en: GuideText = {
  title: "Five minutes with a model's thoughts",
  intro:
    "You will find out why a small model answers “Paris”, give a name to a thing it thinks with, switch that thing off, turn it the other way, and see whether your prediction was right. The model is real and runs on this machine; nothing can break.",
  start: "Begin",
  resume: "Go on",
  next: "Next",
  back: "Back",
  leave: "Leave the guide",
  doIt: "Do it for me",
  done: "Done",
  step: (n, of) => `Step ${n} of ${of}`,
  finished:
    "You have done what an interpretability paper does: a claim, a prediction, an intervention, and a check. Everything here works on your own prompts.",
  steps: {
    trace: {
      title: "A prompt, taken apart",
      teach:
        "A language model turns tokens (pieces of text, along the bottom) into a guess about the next token (on top). Layers stand between, from below to above.",
      task: "Type “The capital of France is” above and press Enter.",
      after:
        "That is an attribution graph. Each mark is something the model computed on this prompt; the larger, the more it mattered for the answer.",
    },
    feature: {
      title: "A feature: one thing the model notices",
      teach:
        "Each circle is a feature: a direction inside the model that lights up for one kind of thing. A line says how much one added to another, solid, or took away, dashed. The strongest gather above the last token: there the answer is made.",
      task: "Click the largest circle above the token “is”.",
      after: "What is chosen stays chosen. Its inputs and outputs are at the right, the strongest first, both signs.",
    },
    card: {
      title: "What does it mean? Look where it fires",
      teach:
        "Nobody told the model what this feature is for. We find out by looking at texts in which it fires: the darker a token, the stronger.",
      task: "Open the tab “Card” at the right. What do the darkest tokens have in common?",
      after: "Texts where it is silent are evidence, too: a good name says what separates the two.",
    },
    label: {
      title: "Give it a name",
      teach:
        "A label is a hypothesis in a few words. You write it once and see it everywhere: in graphs, lists and edits.",
      task: "Press L, write what you think it means, and press Enter.",
      after:
        "Your label now stands in the graph. Others can be tested by a score; yours can be changed any time, and earlier ones are kept.",
    },
    error: {
      title: "Transcoder and error: what we do not know",
      teach:
        "Features come from a transcoder, trained to imitate the model's own layers with few active features. It is not perfect. What it misses is drawn honestly, as diamonds: errors.",
      task: "Click a diamond. (If there is none, tick “Errors” or move the Nodes slider to the right.)",
      after:
        "An error has no inputs: nobody knows what it is made of. The replacement score says how much of the answer does not start at errors.",
    },
    attribution: {
      title: "Attribution: follow the thread",
      teach: "The influence of a token travels along paths: from token to feature to feature to answer.",
      task: "Click empty paper, then choose one of the strongest paths at the right.",
      after: "A path is a claim: this is why the model says Paris. A claim wants a test.",
    },
    off: {
      title: "Predict, then switch them off",
      teach:
        "An edit changes features inside the real model. One alone is often repaired by the others, so take all that speak to the answer directly. First make up your mind.",
      question: "If you switch all of them off, what will the probability of “Paris” do?",
      choices: ["fall", "stay", "rise"],
      task: "Click empty paper; beside “Output features” at the right press “choose all”, then E, then Run.",
      after:
        "Predicted holds the rest still; measured is what the real model did. Where the two differ, layers above the edit have repaired some of what was lost.",
    },
    turn: {
      title: "Steering: turn one feature the other way",
      teach:
        "Off is not the only setting. A feature's strength is a dial: what is turned up speaks louder, below zero it argues for the opposite. Here is the strongest one, multiplied by 1: nothing is changed yet.",
      question: "Turned to −3, what will the probability of “Paris” do?",
      choices: ["fall", "stay", "rise"],
      task: "Drag the strength down to −3 and press Run. Compare the two texts.",
      after:
        "One number inside the model, and it says something else: that is steering. Try other strengths, other features, and your own prompts; far out, the text falls apart.",
    },
    check: {
      title: "How far can the graph be trusted?",
      teach:
        "One edit is an anecdote. An audit switches many features off, one at a time, and compares each prediction with what happened, beside a null: the same graph with its edges shuffled.",
      task: "In the Edit view, press Audit.",
      after: "The nearer to the diagonal, the better. If the null looked the same, the graph would be worth nothing.",
    },
  },
};
