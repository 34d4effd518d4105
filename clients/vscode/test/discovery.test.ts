import assert from "node:assert/strict";
import { test } from "node:test";

import { discover, findOnPath, invocationOf, type Surroundings, versionIn } from "../src/discovery";

/** A machine where only `works` start, and `path` are on PATH. */
function machine(works: readonly string[], path: readonly string[] = [], more: Partial<Surroundings> = {}) {
  const asked: string[] = [];
  const around: Surroundings = {
    setting: null,
    pythons: async () => [],
    own: () => undefined,
    onPath: (name) => (path.includes(name) ? `/bin/${name}` : undefined),
    version: async (command, args) => {
      asked.push([command, ...args].join(" "));
      return works.includes(command) ? "1.2.3" : undefined;
    },
    ...more,
  };
  return { around, asked };
}

test("programs are started by what their names say", () => {
  const cases: [string, string[]][] = [
    ["/opt/bin/dlm-server", ["--stdio"]],
    ["/opt/bin/dlm", ["lsp"]],
    ["/opt/bin/python3.12", ["-P", "-m", "dlm_server"]],
    ["C:\\Python\\python.exe", ["-P", "-m", "dlm_server"]],
    ["C:\\tools\\DLM.EXE", ["lsp"]],
    ["/opt/wrapped-server", ["--stdio"]],
  ];
  for (const [program, args] of cases) {
    assert.deepEqual(invocationOf(program, "").args, args, program);
  }
});

test("a server named in the settings is taken before all else", async () => {
  const { around, asked } = machine(["/mine", "/bin/dlm-server"], ["dlm-server"], { setting: "/mine" });
  const found = await discover(around);
  assert.ok(found.found);
  assert.equal(found.invocation.command, "/mine");
  assert.deepEqual(asked, ["/mine --version"]);
});

test("a server named in the settings that does not work is reported, not passed over", async () => {
  const { around } = machine(["/bin/dlm-server"], ["dlm-server"], { setting: "/gone" });
  const found = await discover(around);
  assert.ok(!found.found);
  assert.match(found.problem, /dlm\.server\.path names \/gone/);
  assert.ok(found.named);
});

test("interpreters come before PATH, and dlm-server before dlm", async () => {
  const pythons = async () => [{ path: "/venv/python", origin: "the Python extension" }];
  const { around, asked } = machine(["/bin/dlm"], ["dlm", "dlm-server"], { pythons });
  const found = await discover(around);
  assert.deepEqual(asked, [
    "/venv/python -P -m dlm_server --version",
    "/bin/dlm-server --version",
    "/bin/dlm lsp --help",
  ]);
  assert.ok(found.found);
  assert.deepEqual(found.invocation, { command: "/bin/dlm", args: ["lsp"], origin: "PATH" });
});

test("what was installed for this editor comes last", async () => {
  const own = () => ({ path: "/storage/python", origin: "installed for this editor" });
  const elsewhere = await discover(machine(["/bin/dlm", "/storage/python"], ["dlm"], { own }).around);
  assert.ok(elsewhere.found);
  assert.equal(elsewhere.invocation.command, "/bin/dlm");
  const { around, asked } = machine(["/storage/python"], ["dlm"], { own });
  const found = await discover(around);
  assert.deepEqual(asked, ["/bin/dlm lsp --help", "/storage/python -P -m dlm_server --version"]);
  assert.ok(found.found);
  assert.equal(found.invocation.origin, "installed for this editor");
});

test("a server named in the settings is not passed over for the installed one", async () => {
  const own = () => ({ path: "/storage/python", origin: "" });
  const { around } = machine(["/storage/python"], [], { own, setting: "/gone" });
  assert.ok(!(await discover(around)).found);
});

test("where there is none, what was tried is said", async () => {
  const { around } = machine([], ["dlm"]);
  assert.deepEqual(await discover(around), {
    found: false,
    problem: "no dlm language server was found",
    tried: ["/bin/dlm (PATH)"],
    named: false,
  });
});

test("PATH is searched in order, and never relative to a folder", () => {
  const there = new Set(["/b/dlm", "/c/dlm", "dlm", "./dlm"]);
  const has = (file: string): boolean => there.has(file);
  assert.equal(findOnPath("dlm", ".::/a:/b:/c", "linux", has), "/b/dlm");
  assert.equal(findOnPath("dlm", ".:", "linux", has), undefined);
  assert.equal(findOnPath("dlm", undefined, "linux", has), undefined);
  assert.equal(
    findOnPath("dlm", "C:\\a;D:\\b", "win32", (file) => file === "D:\\b\\dlm.exe"),
    "D:\\b\\dlm.exe",
  );
});

test("versions", () => {
  assert.equal(versionIn("dlm-server 0.1.0\n"), "0.1.0");
  assert.equal(versionIn("dlm 1.0.0rc1+local"), "1.0.0rc1+local");
  assert.equal(versionIn("Usage: dlm lsp"), "unknown");
});
