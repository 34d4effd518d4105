/**
 * The loss of training runs as an SVG. The newest run is drawn over those before it, on one
 * scale, so that a short retrain can be compared with the long first training. Colours come
 * from classes that the page styles with the editor's theme.
 */

export interface Curve {
  readonly name: string;
  readonly points: readonly { readonly step: number; readonly loss: number }[];
}

const WIDTH = 320;
const HEIGHT = 150;
const LEFT = 34;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;
/** Curves before the newest that are drawn. */
const EARLIER = 4;

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/** Round numbers from 0 to at least `highest`, few enough to label. */
export function ticks(highest: number): number[] {
  const rough = Math.max(highest, 1e-6) / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough) ?? 10 * power;
  const count = Math.max(1, Math.ceil(highest / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, at) => Number((at * step).toPrecision(6)));
}

/** The chart of `curves`, oldest first; empty without a point to draw. */
export function lossChart(curves: readonly Curve[]): string {
  const drawn = curves.filter((curve) => curve.points.length > 0).slice(-1 - EARLIER);
  const points = drawn.flatMap((curve) => curve.points);
  if (points.length === 0) {
    return "";
  }
  const marks = ticks(Math.max(...points.map((point) => point.loss)));
  const highest = marks[marks.length - 1] ?? 1;
  const steps = Math.max(1, ...points.map((point) => point.step));
  const x = (step: number): string =>
    (LEFT + ((WIDTH - LEFT - RIGHT) * step) / steps).toFixed(1);
  const y = (loss: number): string =>
    (TOP + (HEIGHT - TOP - BOTTOM) * (1 - loss / highest)).toFixed(1);

  const parts = marks.map(
    (mark) =>
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(mark)}" y2="${y(mark)}"/>` +
      `<text class="tick" x="${LEFT - 5}" y="${y(mark)}" dy="0.32em" text-anchor="end">${mark}</text>`,
  );
  drawn.forEach((curve, at) => {
    const kind = at === drawn.length - 1 ? "newest" : "earlier";
    const title = `<title>${escapeHtml(curve.name)}</title>`;
    const only = curve.points[0];
    parts.push(
      curve.points.length === 1 && only !== undefined
        ? `<circle class="${kind} dot" cx="${x(only.step)}" cy="${y(only.loss)}" r="2.5">${title}</circle>`
        : `<polyline class="${kind}" points="${curve.points
            .map((point) => `${x(point.step)},${y(point.loss)}`)
            .join(" ")}">${title}</polyline>`,
    );
  });
  parts.push(
    `<text class="tick" x="${LEFT}" y="${HEIGHT - 5}">0</text>`,
    `<text class="tick" x="${WIDTH - RIGHT}" y="${HEIGHT - 5}" text-anchor="end">${steps} ${steps === 1 ? "step" : "steps"}</text>`,
  );
  return (
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="Loss by step">` +
    `${parts.join("")}</svg>`
  );
}
