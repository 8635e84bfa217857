# The log of the flavour that records. Nobody clears it: RAM of a machine that has just been made is zero.
.section .record_log, "aw", @nobits
.balign 4096
.skip 256 << 20
