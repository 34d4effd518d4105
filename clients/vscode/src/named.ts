/** The rows of the picker of named adapters, and who is said to have answered. Plain values. */

import type { Adapters, Answered } from "./protocol";

/** What `dlm.prompt` and `dlm.export` take besides; neither leaves it to the gate, or is not needed. */
export interface Chosen {
  readonly adapter?: string;
  readonly mix?: string;
}

export interface AdapterRow {
  readonly label: string;
  readonly description: string;
  /** undefined: a mix, which is still to be written */
  readonly chosen: Chosen | undefined;
}

/** Who can be chosen; none where there is nothing to choose. Only a question can be left to the gate. */
export function adapterRows(found: Adapters, purpose: "ask" | "export"): AdapterRow[] {
  if (found.adapters.length < 2) {
    return [];
  }
  const gate = { label: "By question", description: "the gate weighs all of them", chosen: {} };
  return [
    ...(found.gate && purpose === "ask" ? [gate] : []),
    ...found.adapters.map(({ adapter, version }) => ({
      label: adapter,
      description: version === null ? "not trained yet" : `version ${version}`,
      chosen: { adapter },
    })),
    { label: "A mix…", description: "their sum, each with a weight", chosen: undefined },
  ];
}

/** The mix to start from: all that are trained, alike. */
export function evenMix(found: Adapters): string {
  const trained = found.adapters.filter(({ version }) => version !== null);
  return trained.map(({ adapter }) => `${adapter}=${Number((1 / trained.length).toFixed(2))}`).join(",");
}

export function answeredBy({ version, shares }: Answered): string {
  if (shares.length > 1) {
    return shares.map(({ adapter, weight }) => `${adapter} ${Number(weight.toFixed(2))}`).join(" + ");
  }
  const of = shares[0] === undefined ? "" : `${shares[0].adapter} `;
  return version === null ? "base" : `${of}version ${version}`;
}

/** What an export is of, for its title. */
export function exportOf(chosen: Chosen): string {
  const of = chosen.adapter ?? chosen.mix;
  return of === undefined ? "" : ` (${of})`;
}
