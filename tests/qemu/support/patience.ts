/**
 * How long anything may take before a test calls it a hang. No test is right or wrong by its speed: this is only for machines that are
 * stuck, and generous for slow computers.
 */
export const PATIENCE_SECONDS = 60;

/** The same for what an operating system does: it runs a thousand times as much as the other hosts. */
export const OPERATING_SYSTEM_PATIENCE_SECONDS = 240;

/** Settles as `promise` does, but fails with `what()` after so many seconds. */
export async function inTime<T>(promise: Promise<T>, what: () => string, seconds = PATIENCE_SECONDS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${seconds} s: ${what()}`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
