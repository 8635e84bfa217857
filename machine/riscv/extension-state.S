# Floating point and vector registers of the interrupted guest. The compiler's -march has neither; only these four use them.
#include "assembly.inc"
.text
.option arch, +f, +d, +v
.macro save_fp n
  fsd f\n, 8*\n(a0)
.endm
.macro load_fp n
  fld f\n, 8*\n(a0)
.endm
function fp_save
  each_register save_fp
  frcsr t0
  sd t0, 256(a0)
  ret
function fp_restore
  each_register load_fp
  ld t0, 256(a0)
  fscsr t0
  ret

# Whole-register moves do not depend on vtype and vl, but they start at vstart.
.macro each_vector_group operation
  csrr t4, vlenb
  slli t4, t4, 3
  addi a0, a0, 32
  .irp n, 0, 8, 16, 24
  \operation v\n, (a0)
  add a0, a0, t4
  .endr
.endm
function vector_save
  csrrw t0, vstart, zero
  csrr t1, vl
  csrr t2, vtype
  csrr t3, vcsr
  sd t0, 0(a0)
  sd t1, 8(a0)
  sd t2, 16(a0)
  sd t3, 24(a0)
  each_vector_group vs8r.v
  ret
function vector_restore
  ld t0, 0(a0)
  ld t1, 8(a0)
  ld t2, 16(a0)
  ld t3, 24(a0)
  csrw vstart, zero
  each_vector_group vl8re8.v
  vsetvl zero, t1, t2
  csrw vcsr, t3
  csrw vstart, t0                    # last: every vector instruction before would start there and clear it
  ret
