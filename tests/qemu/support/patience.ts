/**
 * How long anything may take before a test calls it a hang. No test is right or wrong by its speed: this is only for machines that are
 * stuck, and generous for slow computers.
 */
export const PATIENCE_SECONDS = 60;

/** Settles as `promise` does, but fails with `what()` after PATIENCE_SECONDS. */
export async function inTime<T>(promise: Promise<T>, what: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${PATIENCE_SECONDS} s: ${what()}`)), PATIENCE_SECONDS * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
