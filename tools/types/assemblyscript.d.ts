/**
 * Stands in for AssemblyScript's own declarations in the type check of the tools (`paths` in tsconfig.tools.json).
 *
 * The package declares the globals of its portable library, which hide parts of Node's (`console.warn`, for one). The
 * build uses the compiler as a library through interfaces of its own, so nothing is lost.
 */
export {};
