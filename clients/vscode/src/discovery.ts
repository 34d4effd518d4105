/**
 * Which server to start. The order is fixed and the first that answers wins, except that a
 * server named in the settings is taken or reported, never silently passed over. Nothing here
 * knows of VS Code: what surrounds it comes in as functions.
 */

import * as path from "node:path";

export interface Invocation {
  readonly command: string;
  readonly args: readonly string[];
  /** how it was found, in words */
  readonly origin: string;
}

export interface Python {
  readonly path: string;
  readonly origin: string;
}

export interface Surroundings {
  /** `dlm.server.path`; the editor has dropped a folder's own value where it is not trusted */
  readonly setting: string | null;
  /** interpreters to look into, best first */
  readonly pythons: () => Promise<readonly Python[]>;
  /** the interpreter of the environment that was installed for this editor */
  readonly own: () => Python | undefined;
  /** the full path of a program, or undefined */
  readonly onPath: (name: string) => string | undefined;
  /** the version it says it is, or undefined when it does not run */
  readonly version: (command: string, args: readonly string[]) => Promise<string | undefined>;
}

/** `named`: the settings say which it is, so that another would not be used. */
export type Discovery =
  | { readonly found: true; readonly invocation: Invocation; readonly version: string }
  | { readonly found: false; readonly problem: string; readonly tried: readonly string[]; readonly named: boolean };

/** How a program is started as a server, judged by its name. */
export function invocationOf(program: string, origin: string): Invocation {
  // Either separator: the path may have been written on another system.
  const name = path.win32.basename(program).toLowerCase().replace(/\.exe$/, "");
  if (/^python[\d.]*$|^pypy[\d.]*$/.test(name)) {
    return ofPython(program, origin);
  }
  return { command: program, args: name === "dlm" ? ["lsp"] : ["--stdio"], origin };
}

/** `-P`: a folder called dlm_server where the editor was started must not be imported. */
function ofPython(program: string, origin: string): Invocation {
  return { command: program, args: ["-P", "-m", "dlm_server"], origin };
}

/** What to ask of a program to learn that it is there. */
function probeOf(invocation: Invocation): readonly string[] {
  const start = invocation.args[0];
  if (start === "lsp") {
    return ["lsp", "--help"];
  }
  return [...invocation.args.filter((word) => word !== "--stdio"), "--version"];
}

export async function discover(around: Surroundings): Promise<Discovery> {
  if (around.setting) {
    const named = invocationOf(around.setting, "the setting dlm.server.path");
    const version = await around.version(named.command, probeOf(named));
    return version === undefined
      ? {
          found: false,
          problem: `dlm.server.path names ${around.setting}, which is no dlm server or does not start`,
          tried: [around.setting],
          named: true,
        }
      : { found: true, invocation: named, version };
  }
  const tried: string[] = [];
  for (const candidate of await candidates(around)) {
    tried.push(`${candidate.command} (${candidate.origin})`);
    const version = await around.version(candidate.command, probeOf(candidate));
    if (version !== undefined) {
      return { found: true, invocation: candidate, version };
    }
  }
  return { found: false, problem: "no dlm language server was found", tried, named: false };
}

async function candidates(around: Surroundings): Promise<readonly Invocation[]> {
  const found = (await around.pythons()).map(({ path: program, origin }) => ofPython(program, origin));
  for (const name of ["dlm-server", "dlm"]) {
    const program = around.onPath(name);
    if (program !== undefined) {
      found.push(invocationOf(program, "PATH"));
    }
  }
  // Last: whoever has dlm elsewhere has chosen its version and its place.
  const own = around.own();
  return own === undefined ? found : [...found, ofPython(own.path, own.origin)];
}

/** The first number in what a program printed, or "unknown" for a program that printed none. */
export function versionIn(printed: string): string {
  return /\d+\.\d+[\w.+-]*/.exec(printed)?.[0] ?? "unknown";
}

/** Where `name` would be found, given PATH; relative entries are left out: they mean any folder. */
export function findOnPath(
  name: string,
  searched: string | undefined,
  platform: NodeJS.Platform,
  isProgram: (file: string) => boolean,
): string | undefined {
  const system = platform === "win32" ? path.win32 : path.posix;
  const file = platform === "win32" ? `${name}.exe` : name;
  return (searched ?? "")
    .split(system.delimiter)
    .filter((folder) => system.isAbsolute(folder))
    .map((folder) => system.join(folder, file))
    .find(isProgram);
}
