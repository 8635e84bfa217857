import path from "node:path";

/** The repository's folder. */
export const repository = path.resolve(import.meta.dirname, "..");

/** Where everything that is built or recorded goes; ignored by git. */
export const buildFolder = path.join(repository, "build");
