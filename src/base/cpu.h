/* What this processor can do, read once. CLOZE_ISA=portable|avx2|avx512 in the environment lowers it. */
#ifndef CLOZE_BASE_CPU_H
#define CLOZE_BASE_CPU_H

typedef enum cpu_isa { CPU_ISA_PORTABLE, CPU_ISA_AVX2, CPU_ISA_AVX512 } cpu_isa;

cpu_isa cpu_get_isa(void);            /* AVX2 means avx2+fma+f16c; AVX512 means f, bw, dq, vl */
const char *cpu_isa_name(cpu_isa isa);
int cpu_count(void);                  /* physical cores this process may use */

#endif
