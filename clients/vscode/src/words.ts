/** Short texts of the status item and the language status. Plain values in, words out. */

import type { Job, Status } from "./protocol";

export interface Said {
  readonly text: string;
  readonly detail: string;
  readonly severity: "none" | "warning" | "error";
}

const DOING: Readonly<Record<Job["kind"], string>> = {
  train: "training",
  prompt: "asking",
  probe: "asking probes",
  export: "exporting",
  rollback: "going back",
};

/** The figures of a job as far as they are known, most telling first. */
export function figures(job: Job): string[] {
  const found: string[] = [];
  if (job.rows !== null && job.known !== null) {
    found.push(`${job.known} of ${job.rows} known`);
  }
  if (job.step !== null) {
    found.push(job.steps === null ? `step ${job.step}` : `step ${job.step}/${job.steps}`);
  }
  if (job.secondsLeft !== null) {
    found.push(`≤ ${Math.ceil(job.secondsLeft)} s left`);
  }
  return found;
}

/** The status item while a job runs; undefined when there is none. */
export function jobText(status: Status): string | undefined {
  const job = status.job;
  if (job === null) {
    return undefined;
  }
  const doing =
    job.phase === "training" || job.phase === "answering" || job.phase === "exporting"
      ? DOING[job.kind] + (job.adapter === null ? "" : ` ${job.adapter}`)
      : job.phase;
  const queued = status.queued > 0 ? ` (+${status.queued})` : "";
  return `dlm ${[doing, ...figures(job)].join(" · ")}${queued}`;
}

/** What hovering the status item says: everything that is known, one fact to a line. */
export function jobDetail(status: Status): string[] {
  const job = status.job;
  if (job === null) {
    return [];
  }
  const found = [`${DOING[job.kind]}, ${job.cause}`];
  if (job.message) {
    found.push(job.message);
  }
  found.push(...figures(job));
  if (job.loss !== null) {
    found.push(`loss ${job.loss.toFixed(3)}`);
  }
  if (status.queued > 0) {
    found.push(status.queued === 1 ? "1 job waits" : `${status.queued} jobs wait`);
  }
  return found;
}

/** The language status of a document. */
export function standing(status: Status | undefined, uri: string): Said {
  if (status === undefined) {
    return { text: "dlm", detail: "nothing has been trained or asked yet", severity: "none" };
  }
  const running = jobText(status);
  if (running !== undefined) {
    return { text: running, detail: status.job?.message ?? "", severity: "none" };
  }
  if (status.engine === "failed") {
    return {
      text: "dlm engine failed",
      detail: status.message ?? "the engine cannot be started",
      severity: "error",
    };
  }
  if (status.engine === "restarting") {
    return { text: "dlm engine restarts", detail: status.message ?? "", severity: "warning" };
  }
  const last = status.last;
  if (last !== null && last.uri === uri && last.ending !== "cancelled") {
    const bad = last.ending === "failed" || last.ending === "unavailable";
    const of = last.adapter === null ? "" : ` ${last.adapter}`;
    const version = last.version === null ? "" : `${of} version ${last.version}`;
    return {
      text: bad ? `dlm ${DOING[last.kind]} ${last.ending}` : `dlm${version}`,
      detail: last.message,
      severity: bad ? "error" : status.message === null ? "none" : "warning",
    };
  }
  return {
    text: "dlm",
    detail: status.message ?? `engine ${status.engine}`,
    severity: status.message === null ? "none" : "warning",
  };
}

/** A number of parameters as models are named: 135 M, 1.5 B. */
export function millions(parameters: number): string {
  return parameters < 1e9
    ? `${Math.round(parameters / 1e6)} M`
    : `${String(Math.round(parameters / 1e8) / 10)} B`;
}
