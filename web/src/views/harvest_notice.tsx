// A notice that the atlas harvested last on this server is not used.
import { useEffect, useState } from "preact/hooks";
import { api } from "../api_client";
import { plural } from "../model/format";
import { attempt } from "../state/app";
import type { HarvestMade, Job } from "../types";

export function HarvestNotice() {
  const [harvest, setHarvest] = useState<HarvestMade | null>(null);
  useEffect(() => void attempt(api.jobs).then((answer) => answer && setHarvest(unusedHarvest(answer.jobs))), []);
  if (!harvest) return null;
  return (
    <p class="note" role="status">
      The atlas harvested last, from {plural(harvest.positions, "position")}, is kept but not used: the kit's own was
      made from more text.
    </p>
  );
}

/** The result of the last harvest if its atlas is not used. `jobs` has the latest first. */
export function unusedHarvest(jobs: readonly Job[]): HarvestMade | null {
  for (const { result } of jobs) if (result?.kind === "harvest") return result.used ? null : result;
  return null;
}
