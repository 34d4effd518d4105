import assert from "node:assert/strict";
import { test } from "node:test";

import { escapeHtml, lossChart, ticks } from "../src/chart";
import { body, curveOf, ended, page, type Shown, usable } from "../src/page";
import type { Run, Version } from "../src/protocol";

const RUN: Run = {
  run: 1,
  version: 1,
  when: "2026-01-02T03:04:05Z",
  seconds: 12.34,
  loss: 0.5,
  validationLoss: null,
  steps: [
    { step: 1, loss: 4 },
    { step: 2, loss: null },
    { step: 4, loss: 1 },
  ],
};

const VERSION: Version = {
  version: 1,
  current: true,
  state: "complete",
  reason: null,
  when: null,
  steps: 4,
  loss: 0.5,
  validationLoss: null,
  sections: 2,
  path: "/x",
};

function shown(more: Partial<Shown> = {}): Shown {
  return {
    name: "notes.dlm",
    trusted: true,
    status: undefined,
    busy: false,
    versions: [],
    runs: [],
    live: null,
    problem: null,
    ...more,
  };
}

test("ticks are round, start at nought and reach the top", () => {
  assert.deepEqual(ticks(4), [0, 2, 4]);
  assert.deepEqual(ticks(0.55), [0, 0.2, 0.4, 0.6]);
  assert.deepEqual(ticks(12), [0, 5, 10, 15]);
  assert.ok((ticks(0).at(-1) ?? 0) > 0);
});

test("a curve goes from the upper left down to the right, inside the picture", () => {
  const drawn = /<polyline class="newest" points="([^"]+)"/.exec(lossChart([curveOf(RUN)]))?.[1];
  const points = (drawn ?? "").split(" ").map((point) => point.split(",").map(Number));
  assert.equal(points.length, 2);
  const [[x1 = -1, y1 = -1] = [], [x2 = -1, y2 = -1] = []] = points;
  assert.ok(x1 < x2 && y1 < y2);
  assert.ok(points.flat().every((value) => value >= 0 && value <= 320));
});

test("the newest run is drawn over at most four before it; one point is a dot", () => {
  const runs = Array.from({ length: 9 }, () => curveOf(RUN));
  const chart = lossChart([...runs, { name: "This run", points: [{ step: 1, loss: 2 }] }]);
  assert.equal(chart.match(/class="earlier"/g)?.length, 4);
  assert.equal(chart.match(/class="newest dot"/g)?.length, 1);
  assert.equal(lossChart([]), "");
  assert.equal(lossChart([{ name: "", points: [] }]), "");
});

test("nothing from a document or a store is markup", () => {
  const evil = '<img src=x onerror="1">&\'';
  const made = body(
    shown({
      name: evil,
      versions: [{ ...VERSION, current: false, state: evil, reason: evil }],
      live: { name: evil, points: [{ step: 1, loss: 1 }] },
    }),
  );
  assert.ok(!made.includes("<img"));
  assert.ok(made.includes(escapeHtml(evil)));
  assert.ok(body(shown({ problem: evil })).includes(escapeHtml(evil)));
});

test("the page loads nothing, and every style and script has the nonce", () => {
  const made = page("abc", shown({ runs: [RUN], versions: [VERSION] }));
  assert.match(made, /default-src 'none'; style-src 'nonce-abc'; script-src 'nonce-abc'/);
  assert.deepEqual(made.match(/<(style|script)(?! nonce="abc")/g), null);
  assert.ok(!/\sstyle=|\son\w+=|https?:/.test(made));
});

test("what can be pressed follows from what is there", () => {
  assert.match(body(shown()), />Train</);
  assert.match(body(shown({ versions: [VERSION] })), />Train again</);
  assert.doesNotMatch(body(shown({ trusted: false })), /<button/);
  const older = { ...VERSION, current: false };
  assert.match(body(shown({ versions: [older] })), /data-action="rollback" data-version="1"/);
  assert.doesNotMatch(body(shown({ versions: [VERSION] })), /rollback/);
  assert.ok(usable({ ...VERSION, state: "unsealed" }));
  assert.ok(!usable({ ...VERSION, state: "rejected" }));
});

test("each named adapter has its own loss, versions and runs, and is gone back by name", () => {
  const of = (adapter: string): object => ({ adapter });
  const made = body(
    shown({
      versions: [
        { ...VERSION, current: false },
        { ...VERSION, ...of("harbour"), current: false },
        { ...VERSION, ...of("harbour"), version: 2 },
        { ...VERSION, ...of("kitchen") },
      ],
      runs: [RUN, { ...RUN, ...of("harbour") }, { ...RUN, ...of("harbour"), run: 2, version: 2 }],
      live: { name: "This run", points: [{ step: 1, loss: 1 }], adapter: "kitchen" },
    }),
  );
  const [head, ...groups] = made.split('<h2 class="adapter">');
  assert.deepEqual(groups.map((group) => group.split("<")[0]), ["Before there were names", "harbour", "kitchen"]);
  assert.doesNotMatch(head ?? "", /table|svg viewBox="0 0 3/);
  const [before, harbour, kitchen] = groups;
  assert.doesNotMatch(before ?? "", /data-action/);
  assert.deepEqual(harbour?.match(/data-version="\d+" data-adapter="\w*"/g), ['data-version="1" data-adapter="harbour"']);
  assert.equal(harbour?.match(/<polyline/g)?.length, 2);
  assert.match(kitchen ?? "", /class="newest dot"/);
  assert.doesNotMatch(kitchen ?? "", /<polyline|data-action/);
});

test("the run that goes on is not listed as one that has failed", () => {
  const half = { ...RUN, run: 2, version: null, seconds: null };
  assert.deepEqual(ended([RUN, half], true), [RUN]);
  assert.deepEqual(ended([RUN, half], false), [RUN, half]);
  assert.deepEqual(ended([RUN], true), [RUN]);
});
