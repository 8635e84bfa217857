import ts from "typescript";

/**
 * Puts counters into TypeScript for the machine: a call `coverageHit(n)` at the start of each function, on both ways of each branch, and behind
 * each statement that control may not come out of. Statements in a row share a counter. Nothing moves to another line. AssemblyScript compiles the result; which counters it left out, because
 * a condition is decided at compile time or nobody calls the function, is read from the module (see `presentProbes`).
 */

export type UnitKind = "function" | "statement" | "branch";

/** One thing that a test can reach: a function, a statement, or one way out of a branch. */
export interface Unit {
  kind: UnitKind;
  /** Relative to the root of the sources. */
  file: string;
  /** First character, from 1. */
  line: number;
  column: number;
  /** What the reader sees: name of the function, which way of which branch. */
  label: string;
  /** Function it lies in. */
  function: string;
  /** It was reached (sum of the first) - (sum of the second) times. */
  plus: number[];
  minus: number[];
  /** Offsets in the source text. */
  start: number;
  end: number;
  /** Ways of the same branch have the same number; unique in a file. */
  group?: number;
}

export interface InstrumentedFile {
  text: string;
  units: Unit[];
  /** Number of the first counter that is not used. */
  nextProbe: number;
}

const HIT = "coverageHit";
/** At the end of the file, so that no line moves. */
const DECLARATION = `\n// @ts-ignore: decorator\n@external("coverage", "hit")\ndeclare function ${HIT}(probe: i32): bool;\n`;

/** Instruments one file; its counters are numbered from `firstProbe` on. */
export function instrument(file: string, text: string, firstProbe: number): InstrumentedFile {
  const instrumenter = new Instrumenter(file, text, firstProbe);
  instrumenter.run();
  return { text: instrumenter.result(), units: instrumenter.units, nextProbe: instrumenter.nextProbe };
}

/** Counters that are in a module, from its text form. */
export function presentProbes(wasmText: string): Set<number> {
  const present = new Set<number>();
  for (const [, probe] of wasmText.matchAll(/i32\.const (\d+)\s+call \$\S*coverageHit/g)) present.add(Number(probe));
  return present;
}

interface Insertion {
  at: number;
  text: string;
  /** Closing texts come before opening ones at the same place. */
  opens: boolean;
}

class Instrumenter {
  readonly units: Unit[] = [];
  nextProbe: number;
  readonly #source: ts.SourceFile;
  readonly #file: string;
  readonly #insertions: Insertion[] = [];
  #function = "";
  #groups = 0;

  constructor(file: string, text: string, firstProbe: number) {
    this.#file = file;
    this.#source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
    this.nextProbe = firstProbe;
  }

  run(): void {
    this.#findFunctions(this.#source);
  }

  result(): string {
    if (this.#insertions.length === 0) return this.#source.text;
    const sorted = this.#insertions
      .map((insertion, order) => ({ ...insertion, order }))
      .sort((a, b) => a.at - b.at || Number(a.opens) - Number(b.opens) || a.order - b.order);
    let result = "";
    let done = 0;
    for (const { at, text } of sorted) {
      result += this.#source.text.slice(done, at) + text;
      done = at;
    }
    return result + this.#source.text.slice(done) + DECLARATION;
  }

  #findFunctions(node: ts.Node): void {
    if ((ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isAccessor(node)) && node.body) {
      this.#function = nameOf(node);
      const probe = this.#probe();
      this.#unit("function", node.name ?? node, this.#function, [probe], []);
      this.#open(node.body.getStart() + 1, `${HIT}(${probe});`);
      this.#statements(node.body.statements, probe);
      return;
    }
    ts.forEachChild(node, (child) => this.#findFunctions(child));
  }

  // ---- statements

  /** Statements in a row, which are reached as often as `counter` says, until one of them branches. */
  #statements(nodes: readonly ts.Statement[], counter: number): void {
    let current: number | undefined = counter;
    for (const node of nodes) {
      if (current === undefined) {
        current = this.#probe();
        this.#open(node.getStart(), `${HIT}(${current});`);
      }
      this.#statement(node, current);
      if (isIteration(node) || ts.isIfStatement(node) || ts.isSwitchStatement(node) || ts.isBlock(node)) {
        current = undefined;
      }
    }
  }

  #statement(node: ts.Statement, counter: number): void {
    if (ts.isBlock(node)) return this.#statements(node.statements, counter);
    if (ts.isEmptyStatement(node)) return;
    this.#unit("statement", node, firstLine(node), [counter], []);
    if (ts.isIfStatement(node)) this.#if(node, counter);
    else if (isIteration(node)) this.#loop(node);
    else if (ts.isSwitchStatement(node)) this.#switch(node, counter);
    else if (ts.isReturnStatement(node) && node.expression) this.#expression(node.expression, counter);
    else this.#expressions(node);
  }

  #if(node: ts.IfStatement, counter: number): void {
    this.#expression(node.expression, counter);
    const [taken, skipped] = [this.#probe(), this.#probe()];
    const group = this.#groups++;
    const text = node.expression.getText();
    this.#unit("branch", node, `if (${oneLine(text)}): true`, [taken], [], group);
    this.#unit("branch", node, `if (${oneLine(text)}): false`, [skipped], [], group);
    this.#body(node.thenStatement, taken);
    if (node.elseStatement) this.#body(node.elseStatement, skipped);
    else this.#close(node.getEnd(), ` else {${HIT}(${skipped});}`);
  }

  /** Makes a statement a block that counts. */
  #body(node: ts.Statement, probe: number): void {
    this.#open(node.getStart(), `{${HIT}(${probe});`);
    this.#statement(node, probe);
    this.#close(node.getEnd(), "}");
  }

  #loop(node: Iteration): void {
    const condition = ts.isForStatement(node) ? node.condition : node.expression;
    if (ts.isForStatement(node)) {
      if (node.initializer) this.#expressions(node.initializer);
      if (node.incrementor) this.#expression(node.incrementor);
    }
    const entered = this.#probe();
    if (condition && condition.kind !== ts.SyntaxKind.TrueKeyword) {
      const asked = this.#probe();
      const group = this.#groups++;
      const text = oneLine(condition.getText());
      const counter = ts.isDoStatement(node) ? this.#probe() : entered;
      this.#unit("branch", node, `loop while ${text}: goes on`, [counter], [], group);
      this.#unit("branch", node, `loop while ${text}: ends`, [asked], [counter], group);
      // A condition that is no bool cannot be the right side of &&.
      if (isBoolean(condition)) this.#open(condition.getStart(), `${HIT}(${asked}) && (`);
      else this.#open(condition.getStart(), `(${HIT}(${asked}), (`);
      this.#expression(condition);
      const again = ts.isDoStatement(node) ? ` && ${HIT}(${counter})` : "";
      this.#close(condition.getEnd(), (isBoolean(condition) ? ")" : "))") + again);
    }
    this.#body(node.statement, entered);
  }

  #switch(node: ts.SwitchStatement, reached: number): void {
    this.#expression(node.expression, reached);
    const group = this.#groups++;
    const counters: number[] = [];
    let fallsFrom: number | undefined;
    let hasDefault = false;
    for (const clause of node.caseBlock.clauses) {
      const probe = this.#probe();
      const label = ts.isDefaultClause(clause) ? "default" : `case ${oneLine(clause.expression.getText())}`;
      hasDefault ||= ts.isDefaultClause(clause);
      // Only an empty clause falls into the next one.
      this.#unit("branch", clause, label, [probe], fallsFrom === undefined ? [] : [fallsFrom], group);
      fallsFrom = clause.statements.length === 0 ? probe : undefined;
      if (fallsFrom === undefined) counters.push(probe);
      this.#open(clause.statements.pos, `${HIT}(${probe});`);
      this.#statements(clause.statements, probe);
    }
    if (!hasDefault) this.#unit("branch", node, "no case", [reached], counters, group);
  }

  // ---- expressions

  #expressions(node: ts.Node): void {
    ts.forEachChild(node, (child) => this.#expression(child));
  }

  /** `counter`, if given, counts how often the expression is evaluated. */
  #expression(node: ts.Node, counter?: number): void {
    if (ts.isParenthesizedExpression(node)) return this.#expression(node.expression, counter);
    if (ts.isConditionalExpression(node)) return this.#conditional(node, counter);
    if (ts.isBinaryExpression(node) && isLogical(node.operatorToken.kind)) return this.#logical(node, counter);
    this.#expressions(node);
  }

  #conditional(node: ts.ConditionalExpression, counter?: number): void {
    this.#expression(node.condition, counter);
    const group = this.#groups++;
    const text = oneLine(node.condition.getText());
    for (const [arm, way] of [
      [node.whenTrue, "true"],
      [node.whenFalse, "false"],
    ] as const) {
      const probe = this.#probe();
      this.#unit("branch", node, `${text} ? ${way}`, [probe], [], group);
      this.#open(arm.getStart(), `(${HIT}(${probe}), `);
      this.#expression(arm, probe);
      this.#close(arm.getEnd(), ")");
    }
  }

  /** `a && b` becomes `(hit && (a) && hit && (b))`: AssemblyScript goes on to see that `a` holds where `b` is evaluated. */
  #logical(node: ts.BinaryExpression, counter?: number): void {
    const and = node.operatorToken.kind === ts.SyntaxKind.AmpersandAmpersandToken;
    const asked = counter ?? this.#probe();
    const right = this.#probe();
    const group = this.#groups++;
    const text = `${oneLine(node.left.getText())} ${and ? "&&" : "||"}`;
    this.#unit("branch", node, `${text} ...: ${and ? "true" : "false"}, the right side decides`, [right], [], group);
    this.#unit("branch", node, `${text} ...: ${and ? "false" : "true"}, decides alone`, [asked], [right], group);
    const step = (probe: number): string => (and ? `${HIT}(${probe}) && (` : `!${HIT}(${probe}) || (`);
    let open = "((";
    let close = ")";
    if (counter === undefined && isBoolean(node.left)) open = `(${step(asked)}`;
    else if (counter === undefined) [open, close] = [`((${HIT}(${asked}), (`, "))"];
    this.#open(node.getStart(), open);
    this.#expression(node.left, asked);
    this.#close(node.left.getEnd(), close);
    this.#open(node.right.getStart(), step(right));
    this.#expression(node.right, right);
    this.#close(node.right.getEnd(), "))");
  }

  // ---- notes

  #probe(): number {
    return this.nextProbe++;
  }

  #open(at: number, text: string): void {
    this.#insertions.push({ at, text, opens: true });
  }

  #close(at: number, text: string): void {
    this.#insertions.push({ at, text, opens: false });
  }

  #unit(kind: UnitKind, node: ts.Node, label: string, plus: number[], minus: number[], group?: number): void {
    const start = node.getStart();
    const { line, character } = this.#source.getLineAndCharacterOfPosition(start);
    this.units.push({
      kind,
      file: this.#file,
      line: line + 1,
      column: character + 1,
      label,
      function: this.#function,
      plus,
      minus,
      start,
      end: node.getEnd(),
      ...(group === undefined ? {} : { group }),
    });
  }
}

type Iteration = ts.WhileStatement | ts.ForStatement | ts.DoStatement;

function isIteration(node: ts.Node): node is Iteration {
  return ts.isWhileStatement(node) || ts.isForStatement(node) || ts.isDoStatement(node);
}

function isLogical(kind: ts.SyntaxKind): boolean {
  return kind === ts.SyntaxKind.AmpersandAmpersandToken || kind === ts.SyntaxKind.BarBarToken;
}

/** Whether the expression's type is surely bool, which `hit && (...)` asks for. */
function isBoolean(node: ts.Expression): boolean {
  if (ts.isParenthesizedExpression(node)) return isBoolean(node.expression);
  if (ts.isPrefixUnaryExpression(node)) return node.operator === ts.SyntaxKind.ExclamationToken;
  if (!ts.isBinaryExpression(node)) return false;
  const kind = node.operatorToken.kind;
  if (isLogical(kind)) return isBoolean(node.left) || isBoolean(node.right);
  const { EqualsEqualsToken, ExclamationEqualsToken, LessThanToken, LessThanEqualsToken } = ts.SyntaxKind;
  const { GreaterThanToken, GreaterThanEqualsToken, EqualsEqualsEqualsToken } = ts.SyntaxKind;
  const { ExclamationEqualsEqualsToken } = ts.SyntaxKind;
  return [
    EqualsEqualsToken,
    ExclamationEqualsToken,
    EqualsEqualsEqualsToken,
    ExclamationEqualsEqualsToken,
    LessThanToken,
    LessThanEqualsToken,
    GreaterThanToken,
    GreaterThanEqualsToken,
  ].includes(kind);
}

function nameOf(node: ts.FunctionDeclaration | ts.MethodDeclaration | ts.AccessorDeclaration): string {
  const name = node.name?.getText() ?? "?";
  return ts.isClassDeclaration(node.parent) ? `${node.parent.name?.text ?? "?"}.${name}` : name;
}

function oneLine(text: string): string {
  const joined = text.replace(/\s+/g, " ");
  return joined.length > 70 ? joined.slice(0, 67) + "..." : joined;
}

function firstLine(node: ts.Node): string {
  return oneLine(node.getText().split("\n")[0]);
}
