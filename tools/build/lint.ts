import type { ImageModule } from "./modules.ts";
export function lintSources(module: ImageModule, root: string, files: readonly string[]): void {}
