import assert from "node:assert/strict";
import { test } from "node:test";

import { comparisons, conversation, details, fenced, lineOf, lookOf, oneLine, summary } from "../src/answers";
import type { SectionResult } from "../src/protocol";

function result(more: Partial<SectionResult> = {}): SectionResult {
  return {
    sectionId: "74aa12cdb64c6646",
    pair: 0,
    range: { start: { line: 2, character: 0 }, end: { line: 2, character: 19 } },
    question: "Who keeps the lamp?",
    state: "ok",
    base: null,
    adapted: "Ana keeps it.",
    reference: "Ana keeps it.",
    modelVersion: 3,
    adapter: null,
    error: null,
    ...more,
  };
}

test("one line says how it ended, what was answered and what the base says", () => {
  const cases: [Partial<SectionResult>, string][] = [
    [{}, "→ Ana keeps it."],
    [{ base: "The sun does." }, "→ Ana keeps it.   ·   base: The sun does."],
    [{ base: "Ana keeps it." }, "→ Ana keeps it."],
    [{ state: "passed" }, "✓ Ana keeps it."],
    [{ state: "failed", adapted: "Bo\n\ndoes." }, "✗ Bo does."],
    [{ state: "changed" }, "≠ Ana keeps it."],
    [{ state: "stale" }, "→ Ana keeps it.   ·   stale"],
    [{ state: "running", adapted: null }, "…"],
    [{ state: "running", adapted: "Ana" }, "… Ana"],
    [{ adapted: "  " }, "→ (no words)"],
    [{ state: "error", error: "the engine died: start it again" }, "⚠ the engine died: start it again"],
    [{ pair: null, question: "And now?" }, "And now? → Ana keeps it."],
    [{ pair: null, question: "And now?", adapter: "harbour" }, "And now? (harbour) → Ana keeps it."],
  ];
  for (const [more, expected] of cases) {
    assert.equal(summary(result(more)), expected);
  }
});

test("the base's answer has the room that the line and the answer leave it", () => {
  const base = "The base goes on and on about lamps and those who keep them.";
  const shown = (question: string, adapted: string): number =>
    (summary(result({ question, adapted, base })).split("base: ")[1] ?? "").length;
  assert.ok(shown("Who?", "Ana.") > 30);
  const long = "x".repeat(60);
  assert.ok(shown(long, long) <= 16);
  assert.ok(shown(long, long) > 8);
});

test("long answers are cut at a word, and never inside a letter", () => {
  assert.equal(oneLine("one two three", 9), "one two…");
  assert.equal(oneLine("one\ttwo\r\nthree", 40), "one two three");
  assert.equal(oneLine("🦊🦊🦊🦊", 3), "🦊🦊…");
  assert.ok(summary(result({ adapted: "word ".repeat(500) })).length < 110);
});

test("looks", () => {
  assert.equal(lookOf("ok"), "plain");
  assert.equal(lookOf("running"), "plain");
  assert.equal(lookOf("error"), "failed");
  assert.equal(lookOf("stale"), "stale");
});

test("the hover has all of it, once, and leaves out what there is not", () => {
  assert.deepEqual(
    details(result({ state: "failed", base: "x", adapted: "y\nz" })).map(([heading]) => heading),
    ["", "Adapted", "Document", "Base"],
  );
  assert.deepEqual(details(result({ base: "x" })).map(([heading]) => heading), ["", "Adapted", "Base"]);
  assert.match(details(result({ state: "stale" }))[0]?.[1] ?? "", /stale.*version 3/);
  assert.match(details(result({ adapter: "harbour" }))[0]?.[1] ?? "", /, harbour version 3$/);
});

test("an answer is compared with what says something else", () => {
  const sides = (more: Partial<SectionResult>): string[] => comparisons(result(more)).map(({ side }) => side);
  assert.deepEqual(sides({}), []);
  assert.deepEqual(sides({ base: "Nobody." }), ["base"]);
  assert.deepEqual(sides({ base: "Nobody.", reference: "Bo keeps it." }), ["reference", "base"]);
  assert.deepEqual(sides({ base: "Nobody.", adapted: null, state: "error" }), []);
  assert.deepEqual(sides({ reference: null, base: " " }), []);
});

test("an answer cannot leave its code block", () => {
  const text = "```\n[press me](command:evil)\n````js";
  const block = fenced(text).split("\n");
  assert.equal(block[0], "`````text");
  assert.equal(block[block.length - 1], "`````");
});

test("a result stands at its question, also when lines have come before it", () => {
  const text = ["::instruction::", "### Q", "Who keeps the lamp?", "### A", "Ana keeps it."];
  const at = (lines: readonly string[], more: Partial<SectionResult> = {}): number | undefined =>
    lineOf(result(more), lines.length, (line) => lines[line] ?? "");
  assert.equal(at(text), 2);
  assert.equal(at(["", "", ...text]), 4);
  assert.equal(at(text.slice(1)), 1);
  assert.equal(at(text.map((line) => line.replace("lamp", "lantern"))), undefined);
  assert.equal(at([]), undefined);
  const last = { start: { line: 1, character: 0 }, end: { line: 3, character: 0 } };
  assert.equal(at(text, { range: last, question: "In two lines:\nWho keeps the lamp?" }), 2);
  const selection = { start: { line: 0, character: 0 }, end: { line: 0, character: 0 } };
  assert.equal(at(text, { pair: null, question: "anything", range: selection }), 0);
});

test("a question of its own shows what came of the answer, and who gave it at its end", () => {
  assert.equal(conversation("Who keeps\nthe lamp?", "Ana", undefined), "**Who keeps the lamp?**\n\nAna…\n");
  assert.equal(
    conversation("Who?", "Ana keeps it.", "notes.dlm, version 3"),
    "**Who?**\n\nAna keeps it.\n\n*notes.dlm, version 3*\n",
  );
});
