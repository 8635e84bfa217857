/** DICE in Node: keys and certificates of a device, handovers to the hypervisor, and everything that the hypervisor makes of them. */

export * from "./certificate.ts";
export * from "./evidence.ts";
export * from "./handover.ts";
export * from "./layer.ts";
export { addHandoverNode, readDeviceTree } from "./device-tree.ts";
