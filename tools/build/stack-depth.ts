import { BuildFailure } from "./failure.ts";

/**
 * Worst-case stack depth, from the call graph with frame sizes that gcc writes (-fcallgraph-info=su).
 *
 * A failed assertion or wasm trap calls the panic functions, on the same stack: that is counted in every path that can
 * fail, twice, because a panic can fail too (the second one stops at once).
 */

export interface StackGraph {
  frames: Map<string, number>;
  calls: Map<string, Set<string>>;
}

const INDIRECT = "__indirect_call";
/** The functions of wasm-rt.h that start a panic, also as gcc's clones (.constprop). */
const PANIC_CALLER = /^(env_abort|wasm_trap)\b/;
const PANIC_FUNCTIONS = ["panicAssert", "panicWasm"];

/** Reads the graphs of several object files into one. */
export function readStackGraph(texts: readonly string[], indirectTargets: readonly string[]): StackGraph {
  const frames = new Map<string, number>();
  const calls = new Map<string, Set<string>>();
  const plain = (title: string): string => title.slice(title.lastIndexOf(":") + 1);
  for (const text of texts) {
    for (const [, title, label] of text.matchAll(/^node: \{ title: "([^"]*)" label: "([^"]*)"/gm)) {
      const size = /\\n(\d+) bytes \((\w+)\)/.exec(label);
      if (size) {
        if (size[2] !== "static") throw new BuildFailure(`${plain(title)}: stack frame of unknown size`);
        frames.set(plain(title), Number(size[1]));
      }
    }
    for (const [, from, to] of text.matchAll(/^edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"/gm)) {
      const set = calls.get(plain(from)) ?? new Set<string>();
      set.add(plain(to));
      calls.set(plain(from), set);
    }
  }
  if (indirectTargets.length > 0) calls.set(INDIRECT, new Set(indirectTargets));
  return { frames, calls };
}

export interface Depth {
  bytes: number;
  /** The deepest path, caller first. */
  path: string[];
}

/**
 * Deepest path from each of `roots`.
 *
 * @throws BuildFailure on recursion
 */
export function worstDepths(
  graph: StackGraph,
  roots: readonly string[],
  readable: (name: string) => string,
): Map<string, Depth> {
  const search = searchOf(graph, readable);
  return new Map(roots.map((root) => [root, search.depth(root)]));
}

/**
 * For each function that `root` may call, directly or not, the deepest path from `root` that goes through it, in bytes: by its readable name. What gcc inlined is part of
 * the function that it is in.
 *
 * @throws BuildFailure on recursion
 */
export function depthsThrough(
  graph: StackGraph,
  root: string,
  readable: (name: string) => string,
): Map<string, number> {
  const search = searchOf(graph, readable);
  search.depth(root);
  // What calls a function comes before it.
  const order: string[] = [];
  const visit = (name: string): void => {
    if (order.includes(name)) return;
    for (const callee of calleesOf(graph, name)) visit(callee);
    order.push(name);
  };
  visit(root);
  const above = new Map([[root, 0]]);
  const through = new Map<string, number>();
  for (const name of order.reverse()) {
    const here = above.get(name)!;
    const below = here + (graph.frames.get(name) ?? 0);
    for (const callee of calleesOf(graph, name)) above.set(callee, Math.max(above.get(callee) ?? 0, below));
    // gcc's clones have the name of their function.
    const title = readable(name);
    through.set(title, Math.max(through.get(title) ?? 0, here + search.depth(name).bytes));
  }
  return through;
}

function searchOf(graph: StackGraph, readable: (name: string) => string): DepthSearch {
  const panic = new DepthSearch(graph, { bytes: 0, path: [] }, readable);
  const panics = PANIC_FUNCTIONS.map((name) => panic.depth(name)).sort((a, b) => b.bytes - a.bytes);
  const twice: Depth = { bytes: 2 * panics[0].bytes, path: panics[0].path };
  return new DepthSearch(graph, twice, readable);
}

/** What a panic calls is counted in the functions that start one. */
function calleesOf(graph: StackGraph, name: string): Iterable<string> {
  return PANIC_CALLER.test(name) ? [] : (graph.calls.get(name) ?? []);
}

class DepthSearch {
  readonly graph: StackGraph;
  /** What the functions that start a panic call. */
  readonly panic: Depth;
  readonly readable: (name: string) => string;
  readonly known = new Map<string, Depth>();
  readonly open: string[] = [];

  constructor(graph: StackGraph, panic: Depth, readable: (name: string) => string) {
    this.graph = graph;
    this.panic = panic;
    this.readable = readable;
  }

  depth(name: string): Depth {
    const known = this.known.get(name);
    if (known) return known;
    if (this.open.includes(name)) {
      const cycle = [...this.open.slice(this.open.indexOf(name)), name].map(this.readable);
      throw new BuildFailure(`recursion: ${cycle.join(" -> ")}`);
    }
    this.open.push(name);
    const panics = PANIC_CALLER.test(name);
    let deepest: Depth = panics ? this.panic : { bytes: 0, path: [] };
    for (const callee of calleesOf(this.graph, name)) {
      const depth = this.depth(callee);
      if (depth.bytes > deepest.bytes) deepest = depth;
    }
    this.open.pop();
    const own = this.graph.frames.get(name) ?? 0;
    const result = { bytes: own + deepest.bytes, path: [this.readable(name), ...deepest.path] };
    this.known.set(name, result);
    return result;
  }
}
