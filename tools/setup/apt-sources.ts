import { Failure } from "../failure.ts";

/**
 * The package sources of a Debian machine: reads both of their formats, and derives the source of the backports from the
 * machine's own, so that its mirror and its keys are used.
 */

export interface AptSource {
  types: string[];
  uris: string[];
  suites: string[];
  components: string[];
  /** Key file, or a key itself over several lines, as it stands. */
  signedBy?: string;
}

/** Reads deb822 text (*.sources). Disabled stanzas are left out. */
export function parseSourcesFile(text: string): AptSource[] {
  // A comment does not end a stanza, an empty line does.
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  const stanzas = lines.join("\n").split(/\n(?:[ \t]*\n)+/);
  return stanzas.flatMap((stanza) => {
    const fields = parseFields(stanza);
    const words = (name: string): string[] => (fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
    if (words("types").length === 0 || /^(no|false|without|off|disable|0)$/i.test(fields.get("enabled") ?? "yes")) {
      return [];
    }
    const source: AptSource = {
      types: words("types"),
      uris: words("uris"),
      suites: words("suites"),
      components: words("components"),
    };
    const signedBy = fields.get("signed-by");
    if (signedBy !== undefined) source.signedBy = signedBy;
    return [source];
  });
}

/** Field names in lower case; a field's further lines keep their indentation. */
function parseFields(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name = "";
  for (const line of stanza.split("\n")) {
    const match = /^([A-Za-z0-9-]+):[ \t]*(.*)$/.exec(line);
    if (match) {
      name = match[1].toLowerCase();
      fields.set(name, match[2].trimEnd());
    } else if (/^[ \t]/.test(line) && name !== "") {
      fields.set(name, `${fields.get(name)}\n${line.trimEnd()}`);
    }
  }
  return fields;
}

/** Reads one-line text (sources.list, *.list). */
export function parseListFile(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)/.exec(line);
    if (!match) return [];
    const [, type, options = "", uri, suite, components] = match;
    const source: AptSource = {
      types: [type],
      uris: [uri],
      suites: [suite],
      components: components.split(/\s+/).filter((word) => word !== ""),
    };
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    if (signedBy !== undefined) source.signedBy = signedBy;
    return [source];
  });
}

/** True if binary packages of this suite come from one of the sources. */
export function offersSuite(sources: AptSource[], suite: string): boolean {
  return sources.some((source) => source.types.includes("deb") && source.suites.includes(suite));
}

/**
 * A deb822 source for the backports of the release `codename`, from the mirror and with the keys of its main source.
 *
 * @throws Failure if the machine has no source for the release itself
 */
export function deriveBackportsSource(sources: AptSource[], codename: string): string {
  const main = mainSource(sources, [codename, "stable", "oldstable"]);
  if (!main) {
    throw new Failure(`apt has no source for ${codename} main, from which that of its backports could be derived`);
  }
  const comment = "# Added by Salus (tools/setup): QEMU and OpenSBI newer than the release's own.";
  return deriveSource(main, comment, `${codename}-backports`);
}

/** The first source of binary packages of the archive's part "main" whose suite is one of `suites`, the earlier ones first. */
export function mainSource(sources: AptSource[], suites: string[]): AptSource | undefined {
  return suites
    .map((name) =>
      sources.find(
        (source) =>
          source.types.includes("deb") &&
          source.suites.includes(name) &&
          source.components.includes("main") &&
          source.uris.length > 0,
      ),
    )
    .find((source) => source !== undefined);
}

/** A deb822 source for another suite of the same archive, from the same mirror and with the same keys. */
export function deriveSource(source: AptSource, comment: string, suite: string, fields: string[] = []): string {
  const lines = [comment, "Types: deb", `URIs: ${source.uris[0]}`, `Suites: ${suite}`, "Components: main", ...fields];
  if (source.signedBy !== undefined) {
    // A key that is written out begins on the field's second line.
    lines.push(source.signedBy.startsWith("\n") ? `Signed-By:${source.signedBy}` : `Signed-By: ${source.signedBy}`);
  }
  return lines.join("\n") + "\n";
}
