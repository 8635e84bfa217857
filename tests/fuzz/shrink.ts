/**
 * The shortest part of a failing sequence that still fails, as far as leaving out stretches of it can find: halves first, then ever smaller pieces,
 * until no single entry can go (Zeller's ddmin without its complements).
 */
export function shrink<T>(sequence: readonly T[], fails: (shorter: T[]) => boolean, maxTries = 3000): T[] {
  let current = [...sequence];
  let tries = 0;
  // Whatever comes after the failure goes first, by bisection.
  let size = Math.ceil(current.length / 2);
  while (size >= 1 && tries < maxTries) {
    let removed = false;
    for (let start = current.length - size; start > -size && tries < maxTries; start -= size) {
      const from = Math.max(0, start);
      const shorter = [...current.slice(0, from), ...current.slice(start + size)];
      if (shorter.length === current.length) continue;
      tries++;
      if (!fails(shorter)) continue;
      current = shorter;
      removed = true;
    }
    if (size === 1 && !removed) break;
    if (!removed || size > 1) size = Math.max(1, Math.floor(size / 2));
  }
  return current;
}
