/**
 * From the editor's settings to the server's. The server's schema has no `dlm.server.*` and
 * `dlm.trace.*`, which only the client reads, and no setting in the editor says whether a folder is trusted.
 */

export type Values = Readonly<Record<string, unknown>>;

const OWN: readonly string[] = ["server", "trace", "trusted"];

/** What the server is told: `values` is the section `dlm` as the editor has it. */
export function serverSettings(values: unknown, trusted: boolean): Values {
  const given: Values = isObject(values) ? values : {};
  const kept = Object.entries(given).filter(([name]) => !OWN.includes(name));
  return { ...Object.fromEntries(kept), trusted };
}

/** The answer to `workspace/configuration`: the server asks for the whole section. */
export function configurationReply(
  items: readonly { readonly section?: string }[],
  answers: readonly unknown[],
  trusted: boolean,
): unknown[] {
  return items.map((item, at) =>
    item.section === "dlm" ? serverSettings(answers[at], trusted) : (answers[at] ?? null),
  );
}

function isObject(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
