import { createHash } from "node:crypto";
import ts from "typescript";
import type { Fault } from "./fault.ts";

/** Faults made from the syntax tree: for each place where an operator applies, one. */

type Change = [operator: string, node: ts.Node, replacement: string];

const RELATIONS: Record<string, string> = { "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==" };
const ARITHMETIC: Record<string, string> = {
  "+": "-",
  "-": "+",
  "<<": ">>",
  ">>": "<<",
  "&": "|",
  "|": "&",
  "+=": "-=",
  "-=": "+=",
  "|=": "&=",
  "&=": "|=",
};
const LOGIC: Record<string, string> = { "&&": "||", "||": "&&" };

/** All faults of one file. */
export function faultsOf(file: string, text: string): Fault[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
  const faults: Fault[] = [];
  const seen = new Map<string, number>();
  const add = ([operator, node, replacement]: Change, where: string): void => {
    const [start, end] = [node.getStart(), node.getEnd()];
    const original = text.slice(start, end);
    const key = [file, where, operator, original, replacement].join("\0");
    const ordinal = seen.get(key) ?? 0;
    seen.set(key, ordinal + 1);
    const hash = createHash("sha256").update(`${key}\0${ordinal}`).digest("hex").slice(0, 8);
    const base = file.replace(/^hypervisor\//, "").replace(/\.ts$/, "");
    faults.push({
      id: `${base}:${where}:${operator}:${hash}`,
      kind: operator,
      file,
      line: source.getLineAndCharacterOfPosition(start).line + 1,
      start,
      end,
      replacement,
      description: `${oneLine(original)}  ->  ${oneLine(replacement) || "(nothing)"}`,
    });
  };
  const inFunction = (node: ts.Node, where: string): void => {
    if (isAssertion(node)) return;
    for (const change of changesOf(node)) add(change, where);
    ts.forEachChild(node, (child) => inFunction(child, where));
  };
  const find = (node: ts.Node): void => {
    if ((ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node)) && node.body) {
      inFunction(node.body, node.name?.getText() ?? "?");
    } else ts.forEachChild(node, find);
  };
  find(source);
  return faults;
}

/** A failed assertion ends everything: to take one away, or to make it weaker, changes nothing that a test could see. */
function isAssertion(node: ts.Node): boolean {
  return ts.isCallExpression(node) && node.expression.getText() === "assert";
}

function* changesOf(node: ts.Node): Generator<Change> {
  const condition = conditionOf(node);
  // A comparison is negated as a relation.
  if (condition && !isRelation(condition)) yield ["negate", condition, `!(${condition.getText()})`];
  if (ts.isBinaryExpression(node)) yield* changesOfBinary(node);
  if (ts.isNumericLiteral(node) && !ts.isCaseClause(node.parent)) {
    yield ["off-by-one", node, `(${node.getText()} + 1)`];
  }
  if (ts.isCallExpression(node)) yield* swaps(node);
  if (ts.isExpressionStatement(node) && !isAssertion(node.expression)) {
    if (ts.isCallExpression(node.expression)) yield ["drop-call", node, ";"];
    else if (isAssignment(node.expression)) yield ["drop-assignment", node, ";"];
  }
  if (ts.isReturnStatement(node) && node.expression) yield* changesOfResult(node.expression);
  if (ts.isContinueStatement(node) || ts.isBreakStatement(node)) {
    if (!ts.isCaseClause(node.parent) && !ts.isDefaultClause(node.parent)) yield ["drop-jump", node, ";"];
  }
}

function* changesOfBinary(node: ts.BinaryExpression): Generator<Change> {
  const token = node.operatorToken;
  const operator = token.getText();
  if (RELATIONS[operator]) yield ["relation", token, RELATIONS[operator]];
  if (ARITHMETIC[operator]) yield ["arithmetic", token, ARITHMETIC[operator]];
  if (LOGIC[operator]) {
    // `a && b` in brackets, because || binds weaker than what may stand around it.
    yield ["logic", node, `(${node.left.getText()} ${LOGIC[operator]} ${node.right.getText()})`];
  }
}

function* swaps(node: ts.CallExpression): Generator<Change> {
  for (let i = 0; i + 1 < node.arguments.length; i++) {
    const [first, second] = [node.arguments[i].getText(), node.arguments[i + 1].getText()];
    if (first === second) continue;
    const all = node.arguments.map((argument) => argument.getText());
    [all[i], all[i + 1]] = [second, first];
    yield ["swap-arguments", node, `${node.expression.getText()}(${all.join(", ")})`];
  }
}

function* changesOfResult(result: ts.Expression): Generator<Change> {
  const text = result.getText();
  if (/^SBI_\w+$/.test(text)) yield ["return-zero", result, "0"];
  else if (text === "true") yield ["return-other", result, "false"];
  else if (text === "false") yield ["return-other", result, "true"];
}

function conditionOf(node: ts.Node): ts.Expression | undefined {
  if (ts.isIfStatement(node) || ts.isWhileStatement(node) || ts.isDoStatement(node)) {
    return node.expression.kind === ts.SyntaxKind.TrueKeyword ? undefined : node.expression;
  }
  if (ts.isConditionalExpression(node)) return node.condition;
  return undefined;
}

function isRelation(node: ts.Expression): boolean {
  return ts.isBinaryExpression(node) && node.operatorToken.getText() in RELATIONS;
}

function isAssignment(node: ts.Expression): boolean {
  return ts.isBinaryExpression(node) && /^([-+|&]|<<|>>)?=$/.test(node.operatorToken.getText());
}

function oneLine(text: string): string {
  const joined = text.replace(/\s+/g, " ");
  return joined.length > 90 ? joined.slice(0, 87) + "..." : joined;
}
