/**
 * The runtime of a module without managed memory: AssemblyScript wants these names to exist, and compiles them only where
 * something reaches them. The build refuses a module in which one is reachable.
 */

// @ts-ignore: decorator
@unsafe @global
export function __alloc(size: usize): usize {
  return unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __realloc(ptr: usize, size: usize): usize {
  return unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __free(ptr: usize): void {
  unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __new(size: usize, id: u32): usize {
  return unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __renew(oldPtr: usize, size: usize): usize {
  return unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __link(parentPtr: usize, childPtr: usize, expectMultiple: bool): void {
  unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __pin(ptr: usize): usize {
  return unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __unpin(ptr: usize): void {
  unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __visit(ptr: usize, cookie: u32): void {
  unreachable();
}

// @ts-ignore: decorator
@unsafe @global
export function __collect(): void {
  unreachable();
}
