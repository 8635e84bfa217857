import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { Clock } from "../../../machine/simulated/clock.ts";
import { CsrFile } from "../../../machine/simulated/csr-file.ts";
import { Csr, csrName } from "../../../machine/simulated/csr-numbers.ts";
import { MachineFault } from "../../../machine/simulated/errors.ts";
import { accessGuestCsr } from "../../../machine/simulated/guest-csr.ts";
import { HartInterruptFiles } from "../../../machine/simulated/imsic.ts";
import { machineOptions } from "../../../machine/simulated/machine-options.ts";
import type { MachineOptions } from "../../../machine/simulated/machine-options.ts";
import { repository } from "../../../tools/repository.ts";

/** The CSRs of a simulated hart: what hardware does with values that it does not take as they are. */

const ALL = (1n << 64n) - 1n;

function file(given: Partial<MachineOptions> = {}): CsrFile {
  const options = machineOptions(given);
  const files = options.guestFiles === undefined ? undefined : new HartInterruptFiles(options.guestFiles, 255);
  return new CsrFile(options, new Clock(), files);
}

/** What a register reads after `value` was written. */
function written(csr: number, value: bigint, given: Partial<MachineOptions> = {}): bigint {
  const registers = file(given);
  registers.write(csr, value);
  return registers.read(csr);
}

test("the hypervisor and the machine mean the same registers by the same numbers", () => {
  const text = readFileSync(path.join(repository, "hypervisor/riscv/csr.ts"), "utf8");
  const declared = [...text.matchAll(/^export const ([A-Z0-9]+): u32 = (0x[0-9a-f]+);/gm)];
  assert(declared.length > 60);
  for (const [, name, number] of declared) {
    assert.equal(csrName(Number(number)).toUpperCase(), name, `CSR ${number}`);
  }
});

describe("WARL fields", () => {
  test("hgatp: modes, VMID width, alignment of the root", () => {
    const mode = (value: bigint): bigint => value >> 60n;
    assert.equal(mode(written(Csr.hgatp, 8n << 60n)), 8n);
    assert.equal(mode(written(Csr.hgatp, 10n << 60n)), 0n, "Sv57x4 is not there");
    assert.equal(mode(written(Csr.hgatp, 10n << 60n, { gStageModes: ["sv57"] })), 10n);
    for (const vmidBits of [0, 2, 7, 14]) {
      const kept = (written(Csr.hgatp, (8n << 60n) | (0x3fffn << 44n), { vmidBits }) >> 44n) & 0x3fffn;
      assert.equal(kept, (1n << BigInt(vmidBits)) - 1n);
    }
    assert.equal(written(Csr.hgatp, (8n << 60n) | 0x80207n), (8n << 60n) | 0x80204n);
  });

  test("satp ignores a write with an unknown mode, vsatp and hgatp take the rest of it", () => {
    const registers = file();
    registers.write(Csr.satp, (8n << 60n) | 0x80200n);
    registers.write(Csr.satp, (10n << 60n) | 0x1n);
    assert.equal(registers.read(Csr.satp), (8n << 60n) | 0x80200n);
    registers.write(Csr.vsatp, (8n << 60n) | 0x80200n);
    registers.write(Csr.vsatp, (10n << 60n) | 0x1n);
    assert.equal(registers.read(Csr.vsatp), (8n << 60n) | 1n);
  });

  test("hgeie has a bit for each guest file", () => {
    assert.equal(written(Csr.hgeie, ALL, { guestFiles: 3 }), 0b1110n);
    assert.equal(written(Csr.hgeie, ALL, { guestFiles: 0 }), 0n);
    assert.equal(written(Csr.hgeie, ALL, { guestFiles: undefined }), 0n);
  });

  test("hstatus.VGEIN takes only files that exist", () => {
    assert.equal((written(Csr.hstatus, 3n << 12n) >> 12n) & 63n, 3n);
    assert.equal((written(Csr.hstatus, 4n << 12n) >> 12n) & 63n, 0n);
  });

  test("henvcfg has the bits of what the hart has", () => {
    assert.equal(written(Csr.henvcfg, 1n << 63n), 1n << 63n);
    assert.equal(written(Csr.henvcfg, ALL, { sstc: false, zicbom: false, zicboz: 0 }), 1n);
    assert.equal(written(Csr.henvcfg, 2n << 4n) & (3n << 4n), 0n, "CBIE = 10 is reserved");
  });

  test("sstatus.FS and VS are there with their extensions; SD sums them up", () => {
    assert.equal(written(Csr.sstatus, 3n << 13n) >> 63n, 1n);
    assert.equal(written(Csr.sstatus, (3n << 13n) | (3n << 9n), { floatingPoint: false, vlenb: 0 }), 2n << 32n);
  });

  test("hedeleg never gives calls of VS-mode, guest page faults or virtual instructions away", () => {
    const value = written(Csr.hedeleg, ALL);
    for (const cause of [9, 10, 11, 16, 20, 21, 22, 23])
      assert.equal((value >> BigInt(cause)) & 1n, 0n, `cause ${cause}`);
  });
});

describe("registers that are views of others", () => {
  test("vsie is hie as far as hideleg delegates it", () => {
    const registers = file();
    registers.write(Csr.hideleg, (1n << 2n) | (1n << 10n));
    registers.write(Csr.vsie, ALL);
    assert.equal(registers.read(Csr.hie), (1n << 2n) | (1n << 10n));
    registers.write(Csr.hie, 1n << 2n);
    assert.equal(registers.read(Csr.vsie), 1n << 1n);
  });

  test("vsip.SSIP, hip.VSSIP and hvip.VSSIP are one bit", () => {
    const registers = file();
    registers.write(Csr.hideleg, 1n << 2n);
    registers.write(Csr.vsip, 2n);
    assert.equal(registers.read(Csr.hvip), 4n);
    assert.equal(registers.read(Csr.hip), 4n);
    registers.write(Csr.hip, 0n);
    assert.equal(registers.read(Csr.vsip), 0n);
  });

  test("the guest's timer is pending when its own time has come, if henvcfg lets it", () => {
    const registers = file();
    registers.write(Csr.htimedelta, 100n);
    registers.write(Csr.vstimecmp, registers.clock.now + 50n);
    assert.equal(registers.read(Csr.hip), 0n);
    registers.write(Csr.henvcfg, 1n << 63n);
    assert.equal(registers.read(Csr.hip), 1n << 6n);
    registers.write(Csr.vstimecmp, ALL);
    assert.equal(registers.read(Csr.hip), 0n);
  });

  test("a message to a guest file raises SGEI and, with VGEIN, VSEI", () => {
    const registers = file();
    registers.write(Csr.hstatus, 1n << 12n);
    registers.write(Csr.vsiselect, 0xc0n);
    registers.write(Csr.vsireg, 1n << 7n);
    registers.write(Csr.vsiselect, 0x70n);
    registers.write(Csr.vsireg, 1n);
    registers.interruptFiles!.guest(1)!.setPending(7);
    assert.equal(registers.read(Csr.hgeip), 2n);
    assert.equal(registers.read(Csr.hip), 1n << 10n);
    registers.write(Csr.hgeie, 2n);
    assert.equal(registers.read(Csr.hip), (1n << 10n) | (1n << 12n));
    assert.equal(registers.read(Csr.vstopei), (7n << 16n) | 7n);
    registers.write(Csr.vstopei, 0n);
    assert.equal(registers.read(Csr.hip), 0n);
  });
});

describe("registers that are not there", () => {
  test("reading one is a fault that names it", () => {
    const cases: [number, Partial<MachineOptions>][] = [
      [Csr.scontext, {}],
      [Csr.vsctrctl, {}],
      [Csr.stimecmp, { sstc: false }],
      [Csr.hstateen0, { smstateen: false }],
      [Csr.siselect, { guestFiles: undefined }],
      [Csr.vlenb, { vlenb: 0 }],
      [0x3ff, {}],
    ];
    for (const [csr, options] of cases) {
      assert.equal(file(options).exists(csr), false);
      assert.throws(
        () => file(options).read(csr),
        (error: unknown) => error instanceof MachineFault && error.message.includes(csrName(csr)),
      );
    }
  });

  test("vlenb needs sstatus.VS", () => {
    const registers = file({ vlenb: 32 });
    registers.write(Csr.sstatus, 1n << 9n);
    assert.equal(registers.read(Csr.vlenb), 32n);
    registers.write(Csr.sstatus, 0n);
    assert.equal(registers.exists(Csr.vlenb), false);
  });

  test("a read-only register is not written", () => {
    for (const csr of [Csr.time, Csr.hgeip]) assert.throws(() => file().write(csr, 0n), MachineFault);
  });
});

describe("what a guest may access", () => {
  const cause = (registers: CsrFile, csr: number, user = false): number | undefined => {
    const access = accessGuestCsr(registers, user, csr, "read", 0n);
    return "cause" in access ? access.cause : undefined;
  };

  test("its own registers, not the hypervisor's", () => {
    const registers = file();
    registers.write(Csr.vsscratch, 5n);
    assert.deepEqual(accessGuestCsr(registers, false, Csr.sscratch, "write", 6n), { value: 5n });
    assert.equal(registers.read(Csr.vsscratch), 6n);
    assert.equal(registers.read(Csr.sscratch), 0n);
    for (const csr of [Csr.hgatp, Csr.hstatus, Csr.vsatp, Csr.hgeip, Csr.htimedelta])
      assert.equal(cause(registers, csr), 22);
    assert.equal(cause(registers, 0x5a8), 2, "a register that the hart has not");
    assert.equal(cause(registers, 0x300), 2, "machine level");
    assert.equal(cause(registers, Csr.sscratch, true), 22, "from VU-mode");
  });

  test("others as the hypervisor allows", () => {
    const registers = file();
    registers.write(Csr.hcounteren, 0n);
    for (const csr of [Csr.time, Csr.stimecmp, Csr.senvcfg, Csr.siselect, Csr.stopei, Csr.sstateen0]) {
      assert.equal(cause(registers, csr), 22, csrName(csr));
    }
    registers.write(Csr.hcounteren, 2n);
    registers.write(Csr.henvcfg, 1n << 63n);
    registers.write(Csr.hstateen0, ALL);
    registers.write(Csr.hstatus, 1n << 12n);
    for (const csr of [Csr.time, Csr.stimecmp, Csr.senvcfg, Csr.siselect, Csr.stopei, Csr.sstateen0]) {
      assert.equal(cause(registers, csr), undefined, csrName(csr));
    }
    assert.equal(cause(registers, Csr.cycle), 22);
    registers.write(Csr.hstatus, 1n << 20n);
    assert.equal(cause(registers, Csr.satp), 22, "hstatus.VTVM");
  });
});
