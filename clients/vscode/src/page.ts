/**
 * The training view's page. Everything from a document or a store is escaped; the page may run
 * one script and one style sheet, both named by a nonce, and load nothing.
 */

import { type Curve, escapeHtml, lossChart } from "./chart";
import type { Run, Status, Version } from "./protocol";
import { figures, jobText } from "./words";

export interface Shown {
  /** the document's file name; null when no document is chosen */
  readonly name: string | null;
  readonly trusted: boolean;
  readonly status: Status | undefined;
  /** whether what runs is about this document */
  readonly busy: boolean;
  readonly versions: readonly Version[];
  readonly runs: readonly Run[];
  /** the points of the run that goes on, and the named adapter it is of */
  readonly live: (Curve & { readonly adapter?: string | undefined }) | null;
  /** why versions and runs could not be had */
  readonly problem: string | null;
}

/** What the page says when a button is pressed; of a version, which. */
export interface Pressed {
  readonly action: string;
  readonly version: number;
  readonly adapter: string;
}

export function page(nonce: string, shown: Shown): string {
  const policy = `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style nonce="${nonce}">${STYLE}</style>
</head>
<body>
<main id="main">${body(shown)}</main>
<script nonce="${nonce}">${SCRIPT}</script>
</body>
</html>`;
}

/** What changes while the view is open. */
export function body(shown: Shown): string {
  if (shown.name === null) {
    return "<p>Open a <code>.dlm</code> document to see its training.</p>";
  }
  return [
    `<h2>${escapeHtml(shown.name)}</h2>`,
    state(shown),
    ...parts(shown).map((part) => `${part.heading}${chart(part)}${versions(part)}${runs(part.runs)}`),
  ].join("\n");
}

interface Part extends Pick<Shown, "versions" | "runs" | "live"> {
  readonly heading: string;
  /** what was trained before there were names cannot be gone back to */
  readonly past: boolean;
}

/** What is shown of each named adapter, in the order they come; all of it where none has a name. */
function parts(shown: Shown): Part[] {
  const all = [...shown.versions, ...shown.runs, ...(shown.live === null ? [] : [shown.live])];
  const names = [...new Set(all.map(({ adapter }) => adapter))];
  const named = names.some((name) => name !== undefined);
  return names.map((name) => ({
    heading: named ? `<h2 class="adapter">${escapeHtml(name ?? "Before there were names")}</h2>` : "",
    past: named && name === undefined,
    versions: shown.versions.filter(({ adapter }) => adapter === name),
    runs: shown.runs.filter(({ adapter }) => adapter === name),
    live: shown.live?.adapter === name ? shown.live : null,
  }));
}

function state(shown: Shown): string {
  if (shown.problem !== null) {
    return `<p class="problem">${escapeHtml(shown.problem)}</p>`;
  }
  if (!shown.trusted) {
    return "<p>This folder is not trusted: nothing is trained or asked.</p>";
  }
  const status = shown.status;
  const job = status?.job ?? null;
  if (shown.busy && status !== undefined && job !== null) {
    const share = job.step !== null && job.steps ? (100 * job.step) / job.steps : null;
    const bar =
      share === null
        ? '<svg class="bar" viewBox="0 0 100 2" preserveAspectRatio="none"></svg>'
        : `<svg class="bar" viewBox="0 0 100 2" preserveAspectRatio="none"><rect width="${share.toFixed(1)}" height="2"/></svg>`;
    const said = figures(job).length > 0 ? figures(job).join(" · ") : (job.message ?? job.phase);
    return (
      `<p>${escapeHtml((jobText(status) ?? "").replace(/^dlm /, "").split(" · ")[0] ?? "")}</p>${bar}` +
      `<p class="quiet">${escapeHtml(said)}</p><p>${button("cancel", "Cancel")}</p>`
    );
  }
  const never = shown.versions.length === 0;
  const words = never
    ? "<p>Not trained yet. After the first training every save teaches what is new.</p>"
    : "";
  return `${words}<p>${button("train", never ? "Train" : "Train again")}</p>`;
}

function chart(part: Part): string {
  const curves = part.runs.map(curveOf);
  const drawn = lossChart(part.live === null ? curves : [...curves, part.live]);
  return drawn === "" ? "" : `<h3>Loss</h3>${drawn}`;
}

export function curveOf(run: Run): Curve {
  return {
    name: run.version === null ? `Run ${run.run ?? ""}`.trim() : `Version ${run.version}`,
    points: run.steps.flatMap(({ step, loss }) => (loss === null ? [] : [{ step, loss }])),
  };
}

/** Whether the model can be asked with it: not cut short, and not put aside. */
export function usable(version: Version): boolean {
  return version.state === "complete" || version.state === "unsealed";
}

function versions(part: Part): string {
  if (part.versions.length === 0) {
    return "";
  }
  const rows = [...part.versions].reverse().map((version) => {
    const action = version.current
      ? '<span class="current">current</span>'
      : usable(version)
        ? button("rollback", "Use", version)
        : `<span class="quiet" title="${escapeHtml(version.reason ?? "")}">${escapeHtml(version.state)}</span>`;
    return (
      `<tr><td>${version.version}</td><td>${when(version.when)}</td>` +
      `<td>${number(version.loss)}</td><td>${version.sections ?? ""}</td>` +
      `<td>${part.past ? "" : action}</td></tr>`
    );
  });
  return (
    "<h3>Versions</h3><table><thead><tr><th></th><th>trained</th><th>loss</th>" +
    `<th>sections</th><th></th></tr></thead><tbody>${rows.join("")}</tbody></table>`
  );
}

/** The run that goes on is drawn from what the engine says: its log is half a run. */
export function ended(runs: readonly Run[], busy: boolean): readonly Run[] {
  const newest = runs[runs.length - 1];
  return busy && newest?.version === null && newest.seconds === null ? runs.slice(0, -1) : runs;
}

function runs(found: readonly Run[]): string {
  if (found.length === 0) {
    return "";
  }
  const rows = [...found].reverse().map(
    (run) =>
      `<tr><td>${run.run ?? ""}</td><td>${when(run.when)}</td><td>${run.steps.length}</td>` +
      `<td>${run.seconds === null ? "" : `${run.seconds.toFixed(1)} s`}</td>` +
      `<td>${run.version === null ? '<span class="quiet">none</span>' : run.version}</td></tr>`,
  );
  return (
    "<h3>Runs</h3><table><thead><tr><th></th><th>started</th><th>steps</th><th>took</th>" +
    `<th>version</th></tr></thead><tbody>${rows.join("")}</tbody></table>`
  );
}

function button(action: string, title: string, of?: Version): string {
  const about =
    of === undefined
      ? ""
      : ` data-version="${of.version}" data-adapter="${escapeHtml(of.adapter ?? "")}"`;
  return `<button data-action="${action}"${about}>${escapeHtml(title)}</button>`;
}

function number(value: number | null): string {
  return value === null ? "" : value.toPrecision(3);
}

/** Local date and time, as short as it can be read. */
function when(written: string | null): string {
  const moment = new Date(written ?? "");
  if (Number.isNaN(moment.getTime())) {
    return "";
  }
  const two = (part: number): string => String(part).padStart(2, "0");
  return (
    `${two(moment.getMonth() + 1)}-${two(moment.getDate())} ` +
    `${two(moment.getHours())}:${two(moment.getMinutes())}`
  );
}

const STYLE = `
body { padding: 0 12px 12px; font-size: var(--vscode-font-size); color: var(--vscode-foreground); }
h2 { font-size: 1.1em; margin: 12px 0 4px; overflow-wrap: anywhere; }
h2.adapter { margin-top: 24px; padding-top: 8px;
     border-top: 1px solid var(--vscode-editorWidget-border, var(--vscode-widget-border)); }
h3 { font-size: 0.85em; font-weight: 600; text-transform: uppercase; letter-spacing: 0.04em;
     margin: 18px 0 4px; color: var(--vscode-descriptionForeground); }
p { margin: 6px 0; }
.quiet { color: var(--vscode-descriptionForeground); }
.problem { color: var(--vscode-errorForeground); }
.current { color: var(--vscode-charts-green); }
svg { display: block; width: 100%; max-width: 520px; overflow: visible; }
svg.bar { height: 3px; background: var(--vscode-editorWidget-border, var(--vscode-widget-border)); }
svg.bar rect { fill: var(--vscode-progressBar-background); }
polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.newest { stroke: var(--vscode-charts-blue); }
.newest.dot { fill: var(--vscode-charts-blue); }
.earlier { stroke: var(--vscode-descriptionForeground); opacity: 0.45; }
.earlier.dot { fill: var(--vscode-descriptionForeground); }
.grid { stroke: var(--vscode-descriptionForeground); opacity: 0.18; }
.tick { fill: var(--vscode-descriptionForeground); font-size: 9px; }
table { border-collapse: collapse; width: 100%; max-width: 520px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; color: var(--vscode-descriptionForeground); font-size: 0.85em; }
td, th { padding: 2px 6px 2px 0; white-space: nowrap; }
td:last-child { text-align: right; }
th:last-child { text-align: right; }
button { border: 1px solid var(--vscode-button-border, transparent); border-radius: 2px; padding: 3px 12px;
         color: var(--vscode-button-foreground); background: var(--vscode-button-background);
         font: inherit; cursor: pointer; }
button:hover { background: var(--vscode-button-hoverBackground); }
button:focus-visible { outline: 1px solid var(--vscode-focusBorder); outline-offset: 2px; }
td button { padding: 0 8px; color: var(--vscode-button-secondaryForeground);
            background: var(--vscode-button-secondaryBackground); }
td button:hover { background: var(--vscode-button-secondaryHoverBackground); }
`;

// Focus is kept on the same button when the page changes under it.
const SCRIPT = `
const vscode = acquireVsCodeApi();
const main = document.getElementById("main");
main.addEventListener("click", (event) => {
  const pressed = event.target.closest("button");
  if (!pressed) return;
  const { action, version, adapter } = pressed.dataset;
  vscode.postMessage({ action, version: Number(version), adapter });
});
window.addEventListener("message", (event) => {
  const was = document.activeElement?.dataset ?? {};
  main.innerHTML = event.data.body;
  const same = ({ dataset }) => ["action", "version", "adapter"].every((key) => dataset[key] === was[key]);
  [...main.querySelectorAll("button")].find(same)?.focus();
});
`;
