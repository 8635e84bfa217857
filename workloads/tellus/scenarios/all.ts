export function runScenarios(): void {}
