/**
 * How the model's answers look beside their questions: one line at the end of the question, all
 * of it on hover. Nothing is ever written into the text. Plain values in, words and places out.
 */

import type { ResultState, SectionResult } from "./protocol";

/** Longest answer at the end of a line, in characters; the hover has the rest. */
const LONGEST = 64;
const LONGEST_BASE = 40;
/** What the line, the answer and the base's answer may have together before the last is cut more. */
const COLUMNS = 126;
const SHORTEST_BASE = 16;

const SIGNS: Readonly<Record<ResultState, string>> = {
  running: "…",
  ok: "→",
  stale: "→",
  error: "⚠",
  passed: "✓",
  failed: "✗",
  changed: "≠",
};

export type Look = "plain" | "passed" | "failed" | "changed" | "stale";

export function lookOf(state: ResultState): Look {
  switch (state) {
    case "passed":
    case "failed":
    case "changed":
    case "stale":
      return state;
    case "error":
      return "failed";
    default:
      return "plain";
  }
}

/** The text on one line, cut at a word. */
export function oneLine(text: string, longest: number): string {
  const words = text.trim().split(/\s+/).join(" ");
  const letters = Array.from(words);
  if (letters.length <= longest) {
    return words;
  }
  const cut = letters.slice(0, longest - 1).join("");
  const space = cut.lastIndexOf(" ");
  return `${(space > longest / 2 ? cut.slice(0, space) : cut).trimEnd()}…`;
}

/** A question of its own with what came of its answer, as Markdown; `by` says who answered. */
export function conversation(question: string, answer: string, by: string | undefined): string {
  return `**${oneLine(question, 1000)}**\n\n${answer}${by === undefined ? "…" : `\n\n*${by}*`}\n`;
}

/** What stands at the end of the question's line. */
export function summary(result: SectionResult): string {
  const sign = SIGNS[result.state];
  if (result.state === "error") {
    return `${sign} ${oneLine(result.error ?? "could not be asked", LONGEST)}`;
  }
  // Of a selection it is not plain which adapter is asked.
  const of = result.adapter === null ? "" : `(${result.adapter}) `;
  const asked = result.pair === null ? `${oneLine(result.question, LONGEST_BASE)} ${of}` : "";
  const answer = result.adapted ?? "";
  const shown = answer.trim() === "" ? (result.state === "running" ? "" : "(no words)") : answer;
  const parts = [`${asked}${sign} ${oneLine(shown, LONGEST)}`.trimEnd()];
  if (result.base !== null && result.base.trim() !== "" && result.base !== result.adapted) {
    const line = result.pair === null ? "" : lastLine(result.question);
    const room = COLUMNS - line.length - (parts[0]?.length ?? 0);
    parts.push(`base: ${oneLine(result.base, Math.min(LONGEST_BASE, Math.max(SHORTEST_BASE, room)))}`);
  }
  if (result.state === "stale") {
    parts.push("stale");
  }
  return parts.join("   ·   ");
}

function lastLine(question: string): string {
  return (question.trim().split(/\r\n|\r|\n/).pop() ?? "").trim();
}

const STATES: Readonly<Record<ResultState, string>> = {
  running: "being asked",
  ok: "answered",
  stale: "stale: the section or the model has changed since",
  error: "could not be asked",
  passed: "passed: the answer says what the document says",
  failed: "failed: the answer does not say what the document says",
  changed: "changed: not what the version before answered",
};

/** Texts of the hover in order: a heading and a text that is shown as it is, never as markup. */
export function details(result: SectionResult): readonly (readonly [string, string])[] {
  const of = result.adapter === null ? "" : ` ${result.adapter}`;
  const version = result.modelVersion === null ? "" : ` version ${result.modelVersion}`;
  const whose = of + version === "" ? "" : `,${of}${version}`;
  const found: [string, string][] = [["", `${STATES[result.state]}${whose}`]];
  if (result.pair === null) {
    found.push(["Question", result.question]);
  }
  for (const [heading, text] of [
    ["Adapted", result.adapted],
    ["Document", result.reference === result.adapted ? null : result.reference],
    // Last: it is often long, and what it says is made up.
    ["Base", result.base],
    ["Error", result.error],
  ] as const) {
    if (text !== null && text.trim() !== "") {
      found.push([heading, text]);
    }
  }
  return found;
}

export interface Comparison {
  readonly side: "base" | "reference";
  readonly title: string;
}

/** With what the model's answer can be compared side by side: what is there and says something else. */
export function comparisons(result: SectionResult): readonly Comparison[] {
  const offered: readonly Comparison[] = [
    { side: "reference", title: "Compare with the document" },
    { side: "base", title: "Compare with the base" },
  ];
  return offered.filter(
    ({ side }) =>
      result.adapted !== null && Boolean(result[side]?.trim()) && result[side] !== result.adapted,
  );
}

/** A code block whose fence is longer than any run of backticks inside: nothing gets out. */
export function fenced(text: string): string {
  const runs = text.match(/`+/g) ?? [];
  const fence = "`".repeat(Math.max(3, ...runs.map((run) => run.length + 1)));
  return `${fence}text\n${text}\n${fence}`;
}

/**
 * The line at whose end a result stands in the text as it is now, or undefined. The server's
 * place is right unless the user typed in the meantime; then the same question nearby is.
 */
export function lineOf(
  result: SectionResult,
  lineCount: number,
  lineText: (line: number) => string,
): number | undefined {
  const said = result.range.end.character === 0 && result.range.end.line > result.range.start.line
    ? result.range.end.line - 1
    : result.range.end.line;
  if (result.pair === null) {
    return said < lineCount ? said : undefined;
  }
  const wanted = lastLine(result.question);
  for (let away = 0; away < lineCount; away++) {
    for (const line of away === 0 ? [said] : [said - away, said + away]) {
      if (line >= 0 && line < lineCount && lineText(line).trim() === wanted) {
        return line;
      }
    }
  }
  return undefined;
}
