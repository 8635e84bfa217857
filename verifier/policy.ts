import { DIGEST_SIZE, REGISTERS } from "./measurement.ts";

/**
 * What a verifier expects of a TVM:
 *
 *     { "codeHash": [HEX, ...] or "any",                       SHA-512 of the hypervisor, from the platform's certificate
 *       "registers": { "0": [HEX, ...] or "any", ... } }       0 to 3 must be there, 4 to 7 may be
 *
 * Nothing is left open by leaving it out, except the registers that belong to the guest.
 */
export interface Policy {
  codeHash: Expectation;
  /** By index. */
  registers: Expectation[];
}

/** Lower-case hexadecimal values of which one must be there, or undefined: any. */
export type Expectation = readonly string[] | undefined;

const STATIC_REGISTERS = 4;
const CODE_HASH_SIZE = 64;

/**
 * Reads a policy.
 *
 * @throws TypeError with a sentence if it is not one
 */
export function readPolicy(json: string): Policy {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    throw new TypeError(`the policy is not JSON: ${(error as Error).message}`, { cause: error });
  }
  const policy = asRecord(value, "the policy", ["codeHash", "registers"]);
  const names = Array.from({ length: REGISTERS }, (_, index) => String(index));
  const registers = asRecord(policy["registers"], "registers", names);
  return {
    codeHash: expectation(policy["codeHash"], "codeHash", CODE_HASH_SIZE),
    registers: names.map((name, index) =>
      index >= STATIC_REGISTERS && registers[name] === undefined
        ? undefined
        : expectation(registers[name], `register ${name}`, DIGEST_SIZE),
    ),
  };
}

/** Whether `value` is what is expected. */
export function meets(expected: Expectation, value: Uint8Array): boolean {
  return expected === undefined || expected.includes(Buffer.from(value).toString("hex"));
}

function asRecord(value: unknown, what: string, keys: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError(`${what} is no object`);
  const unknown = Object.keys(value).find((key) => !keys.includes(key));
  if (unknown !== undefined) throw new TypeError(`${what} has no "${unknown}"`);
  return value as Record<string, unknown>;
}

function expectation(value: unknown, what: string, bytes: number): Expectation {
  if (value === "any") return undefined;
  if (value === undefined) throw new TypeError(`the policy does not say what ${what} shall be (values, or "any")`);
  if (!Array.isArray(value) || value.length === 0) throw new TypeError(`${what} is a list of values, or "any"`);
  return value.map((one: unknown) => {
    if (typeof one !== "string" || one.length !== 2 * bytes || !/^[0-9a-fA-F]+$/.test(one)) {
      throw new TypeError(`${what}: a value is ${bytes} bytes in hexadecimal`);
    }
    return one.toLowerCase();
  });
}
