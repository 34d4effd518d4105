/**
 * What a command was called with. The same command comes from the palette with nothing, from
 * menus with a Uri, and from the server's lenses with the one object of the protocol.
 */

export interface UriLike {
  readonly scheme: string;
  readonly path: string;
  toString(): string;
}

export interface Asked {
  /** the document's address as the protocol writes it, or as the editor does */
  readonly uri?: string | UriLike;
  readonly sectionId?: string;
  readonly pair?: number;
}

export function asked(first: unknown): Asked {
  if (typeof first === "string") {
    return { uri: first };
  }
  if (typeof first !== "object" || first === null) {
    return {};
  }
  if ("scheme" in first && "path" in first) {
    return { uri: first as UriLike };
  }
  const given = first as Record<string, unknown>;
  return {
    ...(typeof given["uri"] === "string" ? { uri: given["uri"] } : {}),
    ...(typeof given["sectionId"] === "string" ? { sectionId: given["sectionId"] } : {}),
    ...(typeof given["pair"] === "number" ? { pair: given["pair"] } : {}),
  };
}
