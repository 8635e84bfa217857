/** Extension numbers of the calls that VMs can make (SBI 3.0; CoVE 0.7). */
export const EID_LEGACY_PUTCHAR: u32 = 0x01;
export const EID_LEGACY_GETCHAR: u32 = 0x02;
export const EID_BASE: u32 = 0x10;
export const EID_TIME: u32 = 0x54494d45;
export const EID_IPI: u32 = 0x735049;
export const EID_RFENCE: u32 = 0x52464e43;
export const EID_HSM: u32 = 0x48534d;
export const EID_SRST: u32 = 0x53525354;
export const EID_DBCN: u32 = 0x4442434e;
export const EID_PMU: u32 = 0x504d55;
export const EID_NACL: u32 = 0x4e41434c;
export const EID_ATST: u32 = 0x41545354;
export const EID_COVH: u32 = 0x434f5648;
export const EID_COVI: u32 = 0x434f5649;
export const EID_COVG: u32 = 0x434f5647;
