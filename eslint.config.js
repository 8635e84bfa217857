import js from "@eslint/js";
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

/** Compiled to the machine by AssemblyScript; everything else in TypeScript runs on Node. */
const ASSEMBLYSCRIPT = [
  "hypervisor/**/*.ts",
  "umode/**/*.ts",
  "crypto/**/*.ts",
  "workloads/**/*.ts",
  "tools/build/rt/**/*.ts",
];

const unused = (args) => ["error", { args, argsIgnorePattern: "^_", caughtErrorsIgnorePattern: "^_" }];

/** What the dialect leaves out: each would need a run-time library, a heap or floating point in HS-mode. */
const DIALECT = [
  ["NewExpression", "no `new`: lay an @unmanaged class over memory that has an owner (changetype)"],
  ["ThrowStatement", "no exceptions: return an SBI error, or assert a broken invariant"],
  ["TryStatement", "no exceptions"],
  ["ArrowFunctionExpression", "no closures: use a function at the top level"],
  [":not(MethodDefinition) > FunctionExpression", "no closures: use a function at the top level"],
  ["FunctionDeclaration FunctionDeclaration", "no nested functions"],
  ["TemplateLiteral", "no strings are built at run time: give the console its parts"],
  ["ForOfStatement", "no iterators"],
  ["ArrayExpression", "no managed arrays"],
  ["ObjectExpression", "no object literals"],
  ["TSTypeReference > Identifier[name=/^(f32|f64|Map|Set|Array|StaticArray)$/]", "no floats, no managed collections"],
  ["Program > VariableDeclaration[kind='let']", "no mutable globals: state lives in a record"],
  ["Program > ExportNamedDeclaration > VariableDeclaration[kind='let']", "no mutable globals: state lives in a record"],
].map(([selector, message]) => ({ selector, message }));

export default defineConfig([
  { ignores: ["build/", "node_modules/"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  {
    files: ["**/*.js"],
    languageOptions: { globals: { process: "readonly", console: "readonly" } },
  },
  {
    files: ["**/*.ts"],
    ignores: ASSEMBLYSCRIPT,
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { project: "./tsconfig.tools.json", tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      eqeqeq: "error",
      "@typescript-eslint/no-unused-vars": unused("after-used"),
      // `test()` and `describe()` of node:test return promises that the runner itself waits for.
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", name: ["test", "it", "describe", "suite"], package: "node:test" },
          ],
        },
      ],
    },
  },
  {
    // A test may look at a wasm module's exports as they come.
    files: ["tests/**/*.ts"],
    rules: {
      "@typescript-eslint/no-explicit-any": "off",
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-call": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-return": "off",
    },
  },
  {
    files: ASSEMBLYSCRIPT,
    extends: [tseslint.configs.recommended],
    // Decorators on functions and variables, which TypeScript's own grammar refuses.
    languageOptions: { parserOptions: { allowInvalidAST: true } },
    rules: {
      // 64-bit integers are not JavaScript numbers.
      "no-loss-of-precision": "off",
      "@typescript-eslint/ban-ts-comment": ["error", { "ts-ignore": { descriptionFormat: "^: decorator$" } }],
      "@typescript-eslint/no-unused-vars": unused("none"),
      "no-restricted-syntax": ["error", ...DIALECT],
    },
  },
]);
