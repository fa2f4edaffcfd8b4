// A notice that the atlas harvested last on this server is not used.
import { t } from "../i18n/text";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api_client";
import { count } from "../model/format";
import { attempt } from "../state/app";
import type { HarvestMade, Job } from "../types";

export function HarvestNotice() {
  const [harvest, setHarvest] = useState<HarvestMade | null>(null);
  useEffect(() => void attempt(api.jobs).then((answer) => answer && setHarvest(unusedHarvest(answer.jobs))), []);
  if (!harvest) return null;
  return (
    <p class="note" role="status">
      {" "}
      {t("The atlas harvested last, from {n} positions, is kept but not used: the kit's own was made from more text.", {
        n: count(harvest.positions),
      })}
    </p>
  );
}

/** The result of the last harvest if its atlas is not used. `jobs` has the latest first. */
export function unusedHarvest(jobs: readonly Job[]): HarvestMade | null {
  for (const { result } of jobs) if (result?.kind === "harvest") return result.used ? null : result;
  return null;
}
