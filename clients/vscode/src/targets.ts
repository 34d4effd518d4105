/** The rows of the export picker, and what is said after an export. Plain values in and out. */

import { oneLine } from "./answers";
import type { Exported, ExportTarget } from "./protocol";

export interface Choice {
  readonly label: string;
  readonly description: string;
  readonly target: string;
  readonly quant: string;
}

export interface Heading {
  readonly heading: string;
}

/** What a quantisation costs and keeps; one that is not known here is offered without words. */
const QUANTS: Readonly<Record<string, string>> = {
  Q4_K_M: "smallest that keeps its quality",
  Q5_K_M: "a little larger, closer to the original",
  Q6_K: "larger, hard to tell from the original",
  Q8_0: "half the size of F16, nearly exact",
  F16: "not quantised, largest",
};

/** Under a heading for each target, the document's own choice first. */
export function choices(targets: readonly ExportTarget[]): (Choice | Heading)[] {
  return targets.flatMap(({ target, label, quants }) => [
    { heading: label },
    ...[...quants]
      .sort((a, b) => Number(b.default) - Number(a.default))
      .map(({ quant, default: chosen }) => ({
        label: quant,
        description: [chosen ? "the document's choice" : "", QUANTS[quant] ?? ""]
          .filter((part) => part !== "")
          .join(" · "),
        target,
        quant,
      })),
  ]);
}

export function asExported(done: Exported): string {
  const files = done.files.length === 1 ? "1 file" : `${done.files.length} files`;
  const answer = done.answer?.trim() ? ` Asked, it answers: “${oneLine(done.answer, 80)}”` : "";
  return `Exported ${files} to ${done.folder}.${answer}`;
}
