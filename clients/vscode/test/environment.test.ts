import assert from "node:assert/strict";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { type TestContext, test } from "node:test";

import {
  basePython,
  bundleIn,
  doingOf,
  install,
  InstallCancelled,
  installedIn,
  mark,
  pythonsOf,
  reasonOf,
  type Run,
  runProgram,
  tidy,
} from "../src/environment";

const BASE = { path: "/usr/bin/python3", version: "3.12.4" };
const BUNDLE = { wheel: "/w/dlm-1.0.whl", constraints: "/w/constraints.txt", version: "1.0", digest: "d1" };
const PROGRAM = process.platform === "win32" ? "Scripts/python.exe" : "bin/python";

function folderOf(context: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dlm-environment-"));
  context.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Stands for venv, pip and the server: `fails` is the step that does not work, and what it says. */
function programs(fails?: { readonly step: string; readonly said: string[] }) {
  const asked: string[][] = [];
  const run: Run = async (command, args) => {
    asked.push([command, ...args]);
    const step = args.includes("pip") ? "pip" : args.includes("venv") ? "venv" : "server";
    if (step === "venv") {
      const folder = args[args.length - 1] as string;
      fs.mkdirSync(path.dirname(path.join(folder, PROGRAM)), { recursive: true });
      fs.writeFileSync(path.join(folder, PROGRAM), "");
      fs.writeFileSync(path.join(folder, "pyvenv.cfg"), "");
    }
    return fails?.step === step ? { code: 1, said: fails.said } : { code: 0, said: [] };
  };
  return { run, asked };
}

const never = (): AbortSignal => new AbortController().signal;
const quiet = (): void => {};
const entries = (storage: string): string[] => fs.readdirSync(storage).sort();

test("an environment counts once it is whole, and an older one is then removed", async (context) => {
  const storage = folderOf(context);
  assert.equal(installedIn(storage), undefined);
  const { run, asked } = programs();
  const first = await install(storage, BUNDLE, BASE, run, never(), quiet);
  assert.deepEqual(installedIn(storage), first);
  const pip = asked.find((words) => words.includes("pip")) ?? [];
  assert.equal(pip[0], first.python);
  assert.deepEqual(pip.slice(-3), ["-c", BUNDLE.constraints, `${BUNDLE.wheel}[gguf]`]);

  const second = await install(storage, { ...BUNDLE, digest: "d2" }, BASE, run, never(), quiet);
  assert.equal(installedIn(storage)?.digest, "d2");
  // This process still runs the first: it goes when the process says that it does not.
  await tidy(storage, undefined);
  assert.ok(fs.existsSync(first.folder));
  await tidy(storage, first.folder);
  assert.deepEqual(entries(storage), [path.basename(second.folder), "current.json"].sort());
});

for (const step of ["venv", "pip", "server"]) {
  test(`where ${step} fails, nothing is left and the older environment stays`, async (context) => {
    const storage = folderOf(context);
    const before = await install(storage, BUNDLE, BASE, programs().run, never(), quiet);
    const { run } = programs({ step, said: ["ERROR: broken."] });
    await assert.rejects(install(storage, BUNDLE, BASE, run, never(), quiet), /^Error: broken$/);
    assert.deepEqual(installedIn(storage), before);
    assert.deepEqual(entries(storage), [path.basename(before.folder), "current.json"].sort());
  });
}

test("cancelling stops what runs and leaves nothing", async (context) => {
  const storage = folderOf(context);
  const stop = new AbortController();
  const { run } = programs();
  const stuck: Run = async (command, args, options) => {
    if (!args.includes("pip")) {
      return run(command, args, options);
    }
    // A program and one that it started, neither of which ends.
    const forever = "setInterval(() => {}, 1000)";
    const both = `require("child_process").spawn(process.execPath, ["-e", ${JSON.stringify(forever)}], { stdio: "inherit" });
      console.log("Collecting torch==2.13.0"); ${forever}`;
    return runProgram(process.execPath, ["-e", both], options);
  };
  const doing: string[] = [];
  const installing = install(storage, BUNDLE, BASE, stuck, stop.signal, (said) => {
    doing.push(said);
    if (said === "looking at torch") {
      stop.abort();
    }
  });
  // Its end is heard only when both have closed what they print to.
  await assert.rejects(installing, InstallCancelled);
  assert.deepEqual(doing, ["making a virtual environment", "looking for packages", "looking at torch"]);
  assert.deepEqual(entries(storage), []);
});

test("what is half built or in use by a living process is left alone, the rest removed", async (context) => {
  const storage = folderOf(context);
  const make = (name: string, ...files: string[]): void => {
    fs.mkdirSync(path.join(storage, name, "users"), { recursive: true });
    files.forEach((file) => fs.writeFileSync(path.join(storage, name, file), ""));
  };
  make("begun");
  make("killed", "pyvenv.cfg", "users/999999999");
  make("gone-old", "pyvenv.cfg");
  make("ours", "pyvenv.cfg");
  await mark(path.join(storage, "ours"));
  await tidy(storage, undefined);
  assert.deepEqual(entries(storage), ["begun", "ours"]);
});

test("a pointer to what is not there, or not a pointer, means nothing is installed", (context) => {
  const storage = folderOf(context);
  for (const text of ["", "[]", '{"folder": "1.0-x", "version": "1.0", "digest": "d"}', '{"folder": 3}']) {
    fs.writeFileSync(path.join(storage, "current.json"), text);
    assert.equal(installedIn(storage), undefined, text);
  }
});

test("a bundle is what the packaging script wrote, or nothing", (context) => {
  const folder = folderOf(context);
  assert.equal(bundleIn(folder), undefined);
  const said = { wheel: "a.whl", constraints: "c.txt", version: "1.0", digest: "d" };
  fs.writeFileSync(path.join(folder, "bundle.json"), JSON.stringify(said));
  assert.equal(bundleIn(folder)?.wheel, path.join(folder, "a.whl"));
});

test("the first Python that is new enough and has venv is taken", async () => {
  const said: Record<string, string> = { "/a": "3.9.2 venv", "/b": "3.12.1 no-venv", "/c": "3.11.0 venv" };
  const run: Run = async (command) => ({ code: 0, said: [(said[command] ?? "").replaceAll(".", " ")] });
  assert.deepEqual(await basePython(["/gone", "/a", "/b", "/c"], run), { path: "/c", version: "3.11.0" });
  await assert.rejects(basePython(["/a", "/b"], run), /3\.11 or newer is needed, and \/a is 3\.9\.2; \/b has no venv/);
  await assert.rejects(basePython([], run), /and none was found\. Install one/);
});

test("a real Python answers", async (context) => {
  const found = pythonsOf([], process.env["PATH"], (file) => fs.existsSync(file));
  if (found.length === 0) {
    context.skip("no Python here");
    return;
  }
  assert.match((await basePython(found, runProgram)).version, /^3\.\d+\.\d+$/);
});

test("Pythons: the chosen ones, then those that are tested with", { skip: process.platform === "win32" }, () => {
  const there = new Set(["/x/python3", "/x/python3.13", "/y/python3.12", "/usr/bin/python3"]);
  assert.deepEqual(
    pythonsOf(["/mine/python"], "/x:/y", (file) => there.has(file)),
    ["/mine/python", "/y/python3.12", "/x/python3.13", "/x/python3"],
  );
  assert.deepEqual(pythonsOf([], undefined, (file) => there.has(file)), ["/usr/bin/python3"]);
});

test("pip's lines", () => {
  const cases: [string, string | undefined][] = [
    ["Collecting torch==2.13.0 (from dlm)", "looking at torch"],
    ["  Downloading https://host/a/torch-2.13.0-cp312-none-any.whl (190.5 MB)", "downloading torch 2.13.0 (190.5 MB)"],
    ["  Using cached numpy-2.4.6-cp312-cp312-linux.whl (16 MB)", "downloading numpy 2.4.6 (16 MB)"],
    ["  Downloading numpy-2.4.6-cp312-cp312-linux.whl.metadata (6 kB)", undefined],
    ["Installing collected packages: a, b", "unpacking; this takes a minute or more"],
    ["WARNING: Retrying (Retry(total=4)) after connection broken", "waiting for the network"],
    ["Requirement already satisfied: a", undefined],
  ];
  for (const [line, expected] of cases) {
    assert.equal(doingOf(line), expected, line);
  }
});

test("reasons", () => {
  const cases: [string[], RegExp][] = [
    [
      [
        "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'",
        "ERROR: No matching distribution found for torch==2.13.0",
      ],
      /^packages cannot be downloaded; is there a network/,
    ],
    [["ERROR: No matching distribution found for torch==2.13.0"], /^pip finds no torch==2\.13\.0 for this Python/],
    [
      [
        "ERROR: Cannot install dlm[gguf]==0.1.0 because these package versions have conflicting dependencies.",
        "    dlm[gguf] 0.1.0 depends on filelock>=3.20",
        "    The user requested (constraint) filelock==4.2.11",
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/",
      ],
      /^pip finds no filelock==4\.2\.11 for this Python and system$/,
    ],
    [["ERROR: Could not install packages: [Errno 28] No space left on device"], /^there is no room left/],
    [["something", "ERROR: Odd thing."], /^Odd thing$/],
    [["Error: Command '[...]' returned non-zero exit status 1."], /returned non-zero/],
    [[], /^it said nothing$/],
  ];
  for (const [said, expected] of cases) {
    assert.match(reasonOf(said), expected);
  }
});
