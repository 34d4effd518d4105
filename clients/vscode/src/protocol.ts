/**
 * What the server says beyond the language server protocol, as docs/lsp-extensions.md has it.
 * Types only: whoever reads a message checks nothing that the server's own tests hold.
 */

export interface Place {
  readonly line: number;
  readonly character: number;
}

export interface Stretch {
  readonly start: Place;
  readonly end: Place;
}

export type JobKind = "train" | "prompt" | "probe" | "export" | "rollback";

export interface Job {
  readonly id: number | string;
  readonly kind: JobKind;
  readonly uri: string;
  readonly cause: string;
  readonly phase: string;
  readonly message: string | null;
  readonly step: number | null;
  readonly steps: number | null;
  readonly known: number | null;
  readonly rows: number | null;
  readonly loss: number | null;
  readonly secondsLeft: number | null;
  readonly adapter: string | null;
}

export interface LastJob {
  readonly kind: JobKind;
  readonly uri: string;
  readonly ending: "done" | "failed" | "unavailable" | "cancelled";
  readonly message: string;
  readonly version: number | null;
  readonly adapter: string | null;
}

export interface Status {
  readonly engine: "off" | "starting" | "idle" | "busy" | "restarting" | "failed";
  readonly job: Job | null;
  readonly queued: number;
  readonly message: string | null;
  readonly last: LastJob | null;
}

export type ResultState = "running" | "ok" | "stale" | "error" | "passed" | "failed" | "changed";

export interface SectionResult {
  readonly sectionId: string;
  readonly pair: number | null;
  readonly range: Stretch;
  readonly question: string;
  readonly state: ResultState;
  readonly base: string | null;
  readonly adapted: string | null;
  readonly reference: string | null;
  readonly modelVersion: number | null;
  readonly adapter: string | null;
  readonly error: string | null;
}

export interface SectionResults {
  readonly uri: string;
  readonly version: number | null;
  readonly items: readonly SectionResult[];
}

export interface TrainingProgress {
  readonly run_id: number;
  readonly step: number;
  readonly total_steps: number;
  readonly phase: string;
  readonly loss?: number;
  readonly adapter?: string;
}

export interface Version {
  readonly version: number;
  /** Of a document with named adapters. */
  readonly adapter?: string;
  readonly current: boolean;
  readonly state: string;
  readonly reason: string | null;
  readonly when: string | null;
  readonly steps: number | null;
  readonly loss: number | null;
  readonly validationLoss: number | null;
  readonly sections: number | null;
  readonly path: string;
}

export interface Run {
  readonly run: number | null;
  readonly adapter?: string;
  readonly version: number | null;
  readonly when: string | null;
  readonly seconds: number | null;
  readonly loss: number | null;
  readonly validationLoss: number | null;
  readonly steps: readonly { readonly step: number; readonly loss: number | null }[];
}

/** The named adapters of a document, none for one without. */
export interface Adapters {
  readonly adapters: readonly { readonly adapter: string; readonly version: number | null }[];
  readonly gate: boolean;
}

export interface Answered {
  readonly text: string;
  readonly version: number | null;
  readonly shares: readonly {
    readonly adapter: string;
    readonly version: number;
    readonly weight: number;
  }[];
}

export interface ExportTarget {
  readonly target: string;
  readonly label: string;
  readonly quants: readonly { readonly quant: string; readonly default: boolean }[];
}

export interface Exported {
  readonly folder: string;
  readonly files: readonly string[];
  readonly answer: string | null;
}

export interface BaseModel {
  readonly key: string;
  readonly hf_id: string;
  readonly params: number;
  readonly size_gb_fp16: number;
  readonly license_spdx: string;
  readonly requires_acceptance: boolean;
}

/** `data` of an error that a command was answered with. */
export interface Trouble {
  readonly subject?: string;
  readonly problem?: string;
  readonly remedy?: string;
  readonly ending?: string;
}
