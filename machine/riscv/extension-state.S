# Floating point and vector registers of the interrupted guest. The compiler's -march has neither; only these four use them.

.text
.option push
.option arch, +f, +d
.macro each_fp operation
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
  \operation f\n, 8*\n(a0)
  .endr
.endm
.global fp_save, fp_restore, vector_save, vector_restore
.type fp_save, @function
fp_save:
  each_fp fsd
  frcsr t0
  sd t0, 256(a0)
  ret
.size fp_save, . - fp_save
.type fp_restore, @function
fp_restore:
  each_fp fld
  ld t0, 256(a0)
  fscsr t0
  ret
.size fp_restore, . - fp_restore
.option pop

# Whole-register moves do not depend on vtype and vl, but they start at vstart.
.option push
.option arch, +v
.type vector_save, @function
vector_save:
  csrrw t0, vstart, zero
  csrr t1, vl
  csrr t2, vtype
  csrr t3, vcsr
  sd t0, 0(a0)
  sd t1, 8(a0)
  sd t2, 16(a0)
  sd t3, 24(a0)
  csrr t4, vlenb
  slli t4, t4, 3
  addi a0, a0, 32
  vs8r.v v0, (a0)
  add a0, a0, t4
  vs8r.v v8, (a0)
  add a0, a0, t4
  vs8r.v v16, (a0)
  add a0, a0, t4
  vs8r.v v24, (a0)
  ret
.size vector_save, . - vector_save
.type vector_restore, @function
vector_restore:
  ld t0, 0(a0)
  ld t1, 8(a0)
  ld t2, 16(a0)
  ld t3, 24(a0)
  csrw vstart, zero
  csrr t4, vlenb
  slli t4, t4, 3
  addi a0, a0, 32
  vl8re8.v v0, (a0)
  add a0, a0, t4
  vl8re8.v v8, (a0)
  add a0, a0, t4
  vl8re8.v v16, (a0)
  add a0, a0, t4
  vl8re8.v v24, (a0)
  vsetvl zero, t1, t2
  csrw vcsr, t3
  csrw vstart, t0                    # last: every vector instruction before would start there and clear it
  ret
.size vector_restore, . - vector_restore
.option pop
