// A group of another prompt in the place of the chosen one: the form, and whether the answer follows.
import { useState } from "preact/hooks";
import { t } from "../i18n/text";
import { percent } from "../model/format";
import type { CircuitGroup, SwapView } from "../types";
import { language } from "../state/language";
import { circuit, swap, swapGroup, swapping } from "../state/circuit";
import { graph } from "../state/trace";
import { Heading } from "./widgets";

export function SwapForm({ group }: { group: CircuitGroup }) {
  const result = swap.value;
  const [prompt, setPrompt] = useState(result?.other_prompt ?? circuit.value?.prompt ?? "");
  const same = prompt.trim() === circuit.value?.prompt.trim();
  const send = (event: Event) => {
    event.preventDefault();
    if (!same) void swapGroup(group.id, prompt, "", graph.value?.view.add_bos ?? true);
  };
  return (
    <>
      <Heading>{t("Swap with another prompt")}</Heading>
      <form class="swapform" onSubmit={send}>
        <input
          id="swap"
          type="text"
          class="prompt"
          aria-label={t("The other prompt")}
          value={prompt}
          autocomplete="off"
          spellcheck={false}
          onInput={(event) => setPrompt(event.currentTarget.value)}
        />
        <button type="submit" disabled={swapping.value || same || !prompt.trim()}>
          {t("Swap")}
        </button>
      </form>
      {same && (
        <p class="note">{t("Change a word of it: the group that does the same there comes into this one's place.")}</p>
      )}
      {swapping.value && (
        <p class="note" role="status">
          {t("Explaining the other prompt, and swapping…")}
        </p>
      )}
      {result && !swapping.value && <Result result={result} group={group} />}
    </>
  );
}

function Result({ result, group }: { result: SwapView; group: CircuitGroup }) {
  const random = result.random.length ? Math.max(...result.random) : null;
  const rows = [
    [result.answer, result.own[0], result.own[1]],
    [result.other_answer, result.others[0], result.others[1]],
  ] as const;
  return (
    <div class="swapresult" aria-live="polite">
      <p class={result.follows ? "follows" : "stays"}>
        {result.follows
          ? t("The answer follows: {answer}", { answer: result.other_answer })
          : t("The answer does not follow to {answer}", { answer: result.other_answer })}
      </p>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">{t("Answer")}</th>
            <th scope="col">{t("before")}</th>
            <th scope="col">{t("swapped")}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([answer, before, after]) => (
            <tr key={answer}>
              <th scope="row">{answer}</th>
              <td>{percent(before)}</td>
              <td>{percent(after)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">
        {t("With random features of the other prompt in its place {answer} comes to {random} at most.", {
          answer: result.other_answer,
          random: random === null ? "–" : percent(random),
        })}
        {result.random_size < 0.5 &&
          ` ${t("There are few others to draw from: {share} of the group's size.", { share: percent(result.random_size) })}`}
      </p>
      <label class="inline note">
        {t("What came in:")}{" "}
        <select
          value={result.other_groups.find(([, name]) => name === result.other_group.en)?.[0] ?? ""}
          onChange={(event) =>
            void swapGroup(group.id, result.other_prompt, event.currentTarget.value, graph.value?.view.add_bos ?? true)
          }
        >
          {result.other_groups.map(([id, name]) => (
            <option key={id} value={id}>
              {name === result.other_group.en ? result.other_group[language.value] : name}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}
