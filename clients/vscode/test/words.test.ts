import assert from "node:assert/strict";
import { test } from "node:test";

import { asked } from "../src/arguments";
import { adapterRows, answeredBy, evenMix } from "../src/named";
import type { Job, Status } from "../src/protocol";
import { configurationReply, serverSettings } from "../src/settings";
import { asExported, choices } from "../src/targets";
import { probesIn, settled, verdictOf } from "../src/verdicts";
import { jobDetail, jobText, millions, standing } from "../src/words";

const JOB: Job = {
  id: 1,
  kind: "train",
  uri: "file:///notes.dlm",
  cause: "saved",
  phase: "training",
  message: null,
  step: 12,
  steps: 72,
  known: 8,
  rows: 13,
  loss: 0.51234,
  secondsLeft: 3.2,
  adapter: null,
};

const STATUS: Status = { engine: "busy", job: JOB, queued: 0, message: null, last: null };
const IDLE: Status = { ...STATUS, engine: "idle", job: null };

test("the status item says what is done, how far it is and how long it may take", () => {
  assert.equal(jobText(STATUS), "dlm training · 8 of 13 known · step 12/72 · ≤ 4 s left");
  const starting = { ...JOB, phase: "starting", step: null, known: null, secondsLeft: null };
  assert.equal(jobText({ ...STATUS, job: starting, queued: 2 }), "dlm starting (+2)");
  assert.equal(jobText(IDLE), undefined);
  const named = { ...JOB, adapter: "harbour", known: null, secondsLeft: null };
  assert.equal(jobText({ ...STATUS, job: named }), "dlm training harbour · step 12/72");
  assert.deepEqual(jobDetail({ ...STATUS, queued: 1 }), [
    "training, saved",
    "8 of 13 known",
    "step 12/72",
    "≤ 4 s left",
    "loss 0.512",
    "1 job waits",
  ]);
});

test("sizes of bases", () => {
  assert.deepEqual([135e6, 1.5e9, 3e9, 24e9].map(millions), ["135 M", "1.5 B", "3 B", "24 B"]);
});

test("how a document stands", () => {
  const last = { kind: "train", uri: JOB.uri, ending: "done", message: "13 of 13", version: 4, adapter: null } as const;
  const here = (status: Status) => standing(status, JOB.uri);
  assert.deepEqual(here({ ...IDLE, last }), { text: "dlm version 4", detail: "13 of 13", severity: "none" });
  assert.equal(here({ ...IDLE, last: { ...last, adapter: "harbour" } }).text, "dlm harbour version 4");
  assert.equal(here({ ...IDLE, last: { ...last, ending: "failed" } }).severity, "error");
  const back = { ...last, kind: "rollback", ending: "unavailable" } as const;
  assert.equal(here({ ...IDLE, last: back }).text, "dlm going back unavailable");
  assert.equal(here({ ...IDLE, last: { ...last, ending: "cancelled" } }).text, "dlm");
  assert.equal(standing({ ...IDLE, last }, "file:///other.dlm").text, "dlm");
  assert.equal(here({ ...IDLE, engine: "failed", message: "no memory" }).detail, "no memory");
  assert.equal(here({ ...IDLE, engine: "restarting" }).severity, "warning");
  assert.equal(standing(undefined, "").severity, "none");
});

test("the server gets its settings, whether the folder is trusted, and nothing of the client's", () => {
  const values = { train: { on: "never" }, server: { path: "/x" }, trace: { server: "off" }, trusted: true, home: null };
  const expected = { train: { on: "never" }, home: null, trusted: false };
  assert.deepEqual(serverSettings(values, false), expected);
  assert.deepEqual(serverSettings(undefined, true), { trusted: true });
  const items = [{ section: "dlm" }, { section: "files" }, {}];
  assert.deepEqual(configurationReply(items, [values, { eol: 1 }, undefined], false), [
    expected,
    { eol: 1 },
    null,
  ]);
});

test("commands know what they are about, wherever they come from", () => {
  const uri = { scheme: "file", path: "/a.dlm", toString: () => "file:///a.dlm" };
  assert.deepEqual(asked(undefined), {});
  assert.deepEqual(asked(uri), { uri });
  assert.deepEqual(asked("file:///a.dlm"), { uri: "file:///a.dlm" });
  const lens = { uri: "file:///a.dlm", sectionId: "ab", pair: 2 };
  assert.deepEqual(asked(lens), lens);
  assert.deepEqual(asked({ uri: 3, pair: "x" }), {});
});

test("the export picker has the document's choice first under each target", () => {
  const rows = choices([
    { target: "gguf", label: "GGUF", quants: [{ quant: "F16", default: false }, { quant: "Q9", default: true }] },
  ]);
  assert.deepEqual(
    rows.map((row) => ("heading" in row ? row.heading : `${row.label}: ${row.description}`)),
    ["GGUF", "Q9: the document's choice", "F16: not quantised, largest"],
  );
  assert.equal(
    asExported({ folder: "/x", files: ["a"], answer: " Ana\nkeeps it. " }),
    "Exported 1 file to /x. Asked, it answers: “Ana keeps it.”",
  );
  assert.equal(asExported({ folder: "/x", files: ["a", "b"], answer: null }), "Exported 2 files to /x.");
});

test("who of several adapters is asked or exported, and who is said to have answered", () => {
  const adapters = [
    { adapter: "harbour", version: 2 },
    { adapter: "kitchen", version: null },
    { adapter: "pantry", version: 1 },
  ];
  const rows = (gate: boolean, purpose: "ask" | "export") =>
    adapterRows({ adapters, gate }, purpose).map(({ label, description }) => `${label}: ${description}`);
  const named = ["harbour: version 2", "kitchen: not trained yet", "pantry: version 1"];
  const mix = "A mix…: their sum, each with a weight";
  assert.deepEqual(rows(false, "ask"), [...named, mix]);
  assert.deepEqual(rows(true, "export"), [...named, mix]);
  assert.deepEqual(rows(true, "ask"), ["By question: the gate weighs all of them", ...named, mix]);
  const chosen = adapterRows({ adapters, gate: true }, "ask").map((row) => row.chosen);
  assert.deepEqual(chosen, [{}, ...adapters.map(({ adapter }) => ({ adapter })), undefined]);
  assert.deepEqual(adapterRows({ adapters: adapters.slice(1, 2), gate: true }, "ask"), []);
  assert.equal(evenMix({ adapters, gate: false }), "harbour=0.5,pantry=0.5");

  const share = (adapter: string, weight: number) => ({ adapter, version: 2, weight });
  const by = (version: number | null, ...shares: ReturnType<typeof share>[]) =>
    answeredBy({ text: "", version, shares });
  assert.deepEqual(
    [by(null), by(3), by(2, share("harbour", 1)), by(null, share("harbour", 0.891), share("kitchen", 0.109))],
    ["base", "version 3", "harbour version 2", "harbour 0.89 + kitchen 0.11"],
  );
});

test("probes of an outline, each with an id of its own", () => {
  const leaf = (name: string, kind: number) => ({ name, kind, children: [] as never[] });
  const outline = [
    { name: "s", kind: 4, children: [leaf("Who?", 23), leaf("What?", 11), leaf("Who?", 23)] },
    leaf("Where?", 23),
  ] as { name: string; kind: number; children: never[] }[];
  assert.deepEqual(
    probesIn(outline, 23).map(({ id }) => id),
    ["Who?", "Who? (2)", "Where?"],
  );
});

test("verdicts", () => {
  const of = (state: string) => ({ state, error: "no engine", adapted: "x" }) as never;
  const kinds = ["passed", "ok", "failed", "changed", "error", "stale", "running"].map(
    (state) => verdictOf(of(state)).kind,
  );
  assert.deepEqual(kinds, ["passed", "passed", "failed", "failed", "errored", "skipped", "skipped"]);
  assert.equal(verdictOf(undefined).kind, "skipped");
  assert.deepEqual(["passed", "error", "running", "stale"].map((s) => settled(of(s))), [true, true, false, false]);
});
