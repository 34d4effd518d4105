/** From outlines and results to tests and their verdicts. Plain values in and out. */

import type { SectionResult } from "./protocol";

export interface Symbol {
  readonly name: string;
  readonly kind: number;
  readonly children: readonly this[];
}

/** The probes in an outline, with ids that stay while the text around them changes. */
export function probesIn<S extends Symbol>(
  outline: readonly S[],
  kind: number,
): { readonly id: string; readonly symbol: S }[] {
  const seen = new Map<string, number>();
  const found: { id: string; symbol: S }[] = [];
  const visit = (symbols: readonly S[]): void => {
    for (const symbol of symbols) {
      if (symbol.kind === kind) {
        const times = (seen.get(symbol.name) ?? 0) + 1;
        seen.set(symbol.name, times);
        found.push({ id: times === 1 ? symbol.name : `${symbol.name} (${times})`, symbol });
      }
      visit(symbol.children as readonly S[]);
    }
  };
  visit(outline);
  return found;
}

export type Verdict =
  | { readonly kind: "passed" }
  | { readonly kind: "skipped" }
  | { readonly kind: "failed" | "errored"; readonly message: string };

/** Whether a result says how the question ended. */
export function settled(result: SectionResult | undefined): boolean {
  return result !== undefined && result.state !== "running" && result.state !== "stale";
}

export function verdictOf(result: SectionResult | undefined): Verdict {
  switch (result?.state) {
    case "passed":
    // Without an answer in the document there is nothing it could fail against.
    case "ok":
      return { kind: "passed" };
    case "failed":
      return { kind: "failed", message: "The answer does not say what the document says." };
    case "changed":
      return {
        kind: "failed",
        message: `The answer is not what the version before said: ${result.adapted ?? ""}`,
      };
    case "error":
      return { kind: "errored", message: result.error ?? "The question could not be asked." };
    default:
      return { kind: "skipped" };
  }
}
