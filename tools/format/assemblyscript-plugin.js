/**
 * Prettier for AssemblyScript: TypeScript plus decorators on functions and variables.
 *
 * TypeScript's grammar allows decorators on classes and their members only, and Prettier refuses the rest. A decorator
 * that stands alone on a line before anything but a class is shown to Prettier as a comment, and printed as itself again.
 * Plain JavaScript, so that editors can load it with any Node.
 */

import * as estree from "prettier/plugins/estree";
import * as typescript from "prettier/plugins/typescript";

const MARK = "//assemblyscript-decorator:";

/** A line that holds decorators and nothing else, at the left margin (the members of classes are indented). */
const DECORATOR_LINE = /^(@[A-Za-z]+(\([^)]*\))?\s*)+$/;
const CLASS_LINE = /^(export\s+)?(default\s+)?(abstract\s+)?class\b/;

/**
 * Turns the decorators of functions and variables into marked comments. Lines keep their number.
 *
 * @param {string} text
 */
export function hideDecorators(text) {
  const lines = text.split("\n");
  let beforeClass = false;
  for (let index = lines.length - 1; index >= 0; index--) {
    const line = lines[index];
    if (DECORATOR_LINE.test(line)) {
      if (!beforeClass) lines[index] = MARK + line.trimEnd();
    } else if (line.trim() !== "" && !line.startsWith("//")) {
      beforeClass = CLASS_LINE.test(line);
    }
  }
  return lines.join("\n");
}

export const parsers = {
  assemblyscript: {
    ...typescript.parsers.typescript,
    astFormat: "assemblyscript",
    preprocess: hideDecorators,
  },
};

export const printers = {
  assemblyscript: {
    ...estree.printers.estree,
    printComment(path, options) {
      const comment = path.node;
      const text = options.originalText.slice(options.locStart(comment), options.locEnd(comment));
      return text.startsWith(MARK) ? text.slice(MARK.length) : estree.printers.estree.printComment(path, options);
    },
  },
};

export const languages = [];
