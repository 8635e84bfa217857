/*
 * QEMU TCG plugin: counts executed instructions by region of physical memory, between marker instructions.
 *
 *     -plugin plugin.so,output=FILE,region=NAME:START:END,...,detail=START:END
 *
 * START and END are physical addresses in hexadecimal; an instruction belongs to the last region that holds it, to `other`
 * if none does. A marker is a hint that does nothing: slti x0,x0,0x5a1 opens an interval, slti x0,x0,0x5a2 closes it. Markers
 * themselves are not counted. An instruction that traps is counted when it traps and when it is executed again.
 *
 * FILE gets a line when an interval is opened, one when it is closed, and one when a region is entered first:
 *
 *     enter NAME other=N NAME=N ...      executed since power-on
 *     open other=N NAME=N ...            executed since power-on, when an interval is opened
 *     interval other=N NAME=N ...        executed in the interval, by all harts
 *     own other=N NAME=N ...             after `interval`: the part of the hart that opened and closed it (a machine with several harts:
 *                                        `other` is 0)
 *     at ADDRESS N                       after `interval`: executions of one instruction in the range of `detail`
 *
 * Physical addresses come from the host address of an instruction: RAM is one block of the emulator, and its first byte
 * (RAM_START) is where the firmware begins. So images that are linked at the same address are told apart.
 *
 * The header of QEMU's plugin interface is not packaged everywhere: what is used of it is declared here (version 4, QEMU 9.2
 * and later).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
typedef uint64_t qemu_plugin_id_t;
typedef struct { struct qemu_plugin_scoreboard* score; size_t offset; } qemu_plugin_u64;
typedef struct {
  const char* target_name;
  struct { int min, cur; } version;
  bool system_emulation;
  int smp_vcpus, max_vcpus;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0, READ_REGISTERS = 1, INLINE_ADD_U64 = 0 };
struct qemu_plugin_register;
typedef struct { struct qemu_plugin_register* handle; const char *name, *feature; } qemu_plugin_reg_descriptor;
/* GLib's arrays, which QEMU brings. */
typedef struct { char* data; unsigned len; } GArray;
typedef struct { uint8_t* data; unsigned len; } GByteArray;
char* g_array_free(GArray*, int);
GByteArray* g_byte_array_new(void);
GByteArray* g_byte_array_set_size(GByteArray*, unsigned);
EXPORT int qemu_plugin_version = 4;
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb*));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void*), void*);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn*, void (*)(unsigned, void*), int, void*);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn*, int, qemu_plugin_u64, uint64_t);
struct qemu_plugin_scoreboard* qemu_plugin_scoreboard_new(size_t);
void* qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard*, unsigned);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb*, void (*)(unsigned, void*), int, void*);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned));
GArray* qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register*, GByteArray*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn*, void*, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn*);
void* qemu_plugin_insn_haddr(const struct qemu_plugin_insn*);
int qemu_plugin_num_vcpus(void);

#define MARKER(number) ((uint32_t)(number) << 20 | 0x2013)
#define RAM_START 0x80000000u
enum { OPEN = MARKER(0x5a1), CLOSE = MARKER(0x5a2), MAX_REGIONS = 8, SMALLEST_INSTRUCTION = 2 };

static struct { char name[32]; uint64_t start, end; bool entered; } regions[MAX_REGIONS] = {{.name = "other", .entered = true}};
static size_t region_count = 1;
static uint64_t detail_start, detail_end;
/* Counters of one hart: one for each region, then one for each place in the range of detail. */
static struct qemu_plugin_scoreboard* counters;
static size_t counter_count;
static uint64_t *at_open, *now;
static uint64_t own_at_open[MAX_REGIONS], own_now[MAX_REGIONS];
static unsigned opened_by;
/*
 * With several harts, QEMU 10.0 under -icount tells a plugin the hart that an instruction was translated for, in place of the one that executes
 * it, and its inline counters write to wild addresses. Then each instruction is counted by a call, and each block begins with a look at mhartid:
 * slow, so `other` is not counted.
 */
static bool several_harts;
static unsigned hart;
static struct qemu_plugin_register* hart_id_register;
static GByteArray* register_value;
static bool is_open;
static uintptr_t ram;
static FILE* output;

static void fail(const char* what) {
  fprintf(stderr, "bench plugin: %s\n", what);
  exit(1);
}

/* Sums the counters of all harts. */
static void read_counters(uint64_t* sums) {
  memset(sums, 0, counter_count * sizeof(uint64_t));
  for (int vcpu = 0; vcpu < qemu_plugin_num_vcpus(); vcpu++) {
    const uint64_t* own = qemu_plugin_scoreboard_find(counters, (unsigned)vcpu);
    for (size_t i = 0; i < counter_count; i++) sums[i] += own[i];
  }
}

static void write_regions(const char* event, const uint64_t* after, const uint64_t* before) {
  fputs(event, output);
  for (size_t i = 0; i < region_count; i++) fprintf(output, " %s=%" PRIu64, regions[i].name, after[i] - (before ? before[i] : 0));
  fputc('\n', output);
}

/* The counters of this hart. */
static void read_own_counters(uint64_t* values) {
  memcpy(values, qemu_plugin_scoreboard_find(counters, hart), region_count * sizeof(uint64_t));
}

static void on_open(unsigned vcpu, void* unused) {
  (void)vcpu, (void)unused;
  if (is_open) fail("an interval was opened while one was open");
  is_open = true;
  opened_by = hart;
  read_own_counters(own_at_open);
  read_counters(at_open);
  memcpy(now, at_open, counter_count * sizeof(uint64_t));
  write_regions("open", now, NULL);
}

static void on_close(unsigned vcpu, void* unused) {
  (void)vcpu, (void)unused;
  if (!is_open) fail("an interval was closed, but none was open");
  if (hart != opened_by) fail("an interval was closed by another hart than opened it");
  is_open = false;
  read_counters(now);
  write_regions("interval", now, at_open);
  read_own_counters(own_now);
  write_regions("own", own_now, own_at_open);
  for (size_t i = region_count; i < counter_count; i++) {
    if (now[i] == at_open[i]) continue;
    fprintf(output, "at %" PRIx64 " %" PRIu64 "\n", detail_start + (i - region_count) * SMALLEST_INSTRUCTION, now[i] - at_open[i]);
  }
}

static void on_enter(unsigned vcpu, void* region) {
  (void)vcpu;
  size_t index = (size_t)region;
  if (regions[index].entered) return;
  regions[index].entered = true;
  char event[64];
  snprintf(event, sizeof event, "enter %s", regions[index].name);
  read_counters(now);
  write_regions(event, now, NULL);
}

static uint64_t physical_address(const struct qemu_plugin_insn* instruction) {
  uintptr_t host = (uintptr_t)qemu_plugin_insn_haddr(instruction);
  if (ram == 0 && qemu_plugin_insn_vaddr(instruction) == RAM_START) ram = host;
  return ram == 0 || host < ram ? 0 : host - ram + RAM_START;
}

static void on_instruction(unsigned vcpu, void* counter) {
  (void)vcpu;
  ((uint64_t*)qemu_plugin_scoreboard_find(counters, hart))[(size_t)counter]++;
}

/* The hart that executes what follows. */
static void on_block(unsigned vcpu, void* unused) {
  (void)vcpu, (void)unused;
  uint64_t id = 0;
  g_byte_array_set_size(register_value, 0);
  if (qemu_plugin_read_register(hart_id_register, register_value) != sizeof id) fail("mhartid cannot be read");
  memcpy(&id, register_value->data, sizeof id);
  hart = (unsigned)id;
}

/* Finds mhartid. */
static void on_vcpu_init(qemu_plugin_id_t id, unsigned vcpu) {
  (void)id;
  if (vcpu != 0) return;
  GArray* all = qemu_plugin_get_registers();
  const qemu_plugin_reg_descriptor* registers = (const qemu_plugin_reg_descriptor*)all->data;
  for (unsigned i = 0; i < all->len; i++) {
    if (strcmp(registers[i].name, "mhartid") == 0) hart_id_register = registers[i].handle;
  }
  g_array_free(all, true);
  if (hart_id_register == NULL) fail("harts have no mhartid");
  register_value = g_byte_array_new();
}

static void count(struct qemu_plugin_insn* instruction, size_t counter) {
  if (several_harts) return qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_instruction, NO_REGISTERS, (void*)counter);
  qemu_plugin_u64 entry = {counters, counter * sizeof(uint64_t)};
  qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, INLINE_ADD_U64, entry, 1);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  (void)id;
  bool asks = false;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
    struct qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(block, i);
    uint32_t code = 0;
    qemu_plugin_insn_data(instruction, &code, sizeof code);
    if (code == OPEN || code == CLOSE) {
      asks = true;
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, code == OPEN ? on_open : on_close, NO_REGISTERS, NULL);
      continue;
    }
    uint64_t hpa = physical_address(instruction);
    size_t region = region_count - 1;
    while (region > 0 && (hpa < regions[region].start || hpa >= regions[region].end)) region--;
    if (!regions[region].entered) qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_enter, NO_REGISTERS, (void*)region);
    if (several_harts && region == 0) continue;
    asks = true;
    count(instruction, region);
    if (hpa >= detail_start && hpa < detail_end) count(instruction, region_count + (hpa - detail_start) / SMALLEST_INSTRUCTION);
  }
  if (several_harts && asks) qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, READ_REGISTERS, NULL);
}

static void on_machine_exit(qemu_plugin_id_t id, void* unused) {
  (void)id, (void)unused;
  if (is_open) fputs("unclosed\n", output);
  fclose(output);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
  several_harts = info->smp_vcpus > 1;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "output=", 7) == 0) {
      output = fopen(argv[i] + 7, "w");
    } else if (strncmp(argv[i], "region=", 7) == 0 && region_count < MAX_REGIONS) {
      if (sscanf(argv[i] + 7, "%31[^:]:%" SCNx64 ":%" SCNx64, regions[region_count].name, &regions[region_count].start,
                 &regions[region_count].end) != 3) return -1;
      region_count++;
    } else if (strncmp(argv[i], "detail=", 7) == 0) {
      if (sscanf(argv[i] + 7, "%" SCNx64 ":%" SCNx64, &detail_start, &detail_end) != 2) return -1;
    } else {
      return -1;
    }
  }
  if (output == NULL) return -1;
  counter_count = region_count + (detail_end - detail_start) / SMALLEST_INSTRUCTION;
  counters = qemu_plugin_scoreboard_new(counter_count * sizeof(uint64_t));
  at_open = calloc(counter_count, sizeof(uint64_t));
  now = calloc(counter_count, sizeof(uint64_t));
  if (counters == NULL || at_open == NULL || now == NULL) return -1;
  if (several_harts) qemu_plugin_register_vcpu_init_cb(id, on_vcpu_init);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_machine_exit, NULL);
  return 0;
}
