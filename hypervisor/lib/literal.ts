/**
 * String literals without a string runtime: AssemblyScript keeps a literal as static UTF-16 data, with its length in
 * bytes (rtSize) in the 4 bytes before it.
 */

/** Characters of a literal. */
export function literalLength(text: string): usize {
  return (<usize>load<u32>(changetype<usize>(text) - 4)) >> 1;
}

/** Character `index` of a literal; our literals are ASCII, so this is also its byte. */
export function literalChar(text: string, index: usize): u32 {
  return <u32>load<u16>(changetype<usize>(text) + (index << 1));
}
