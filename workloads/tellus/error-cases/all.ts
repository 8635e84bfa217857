export function runErrorCases(): void {}
