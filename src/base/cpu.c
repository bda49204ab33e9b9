/*
 * What this processor can do. The instruction set is read once: kernels must not change under a
 * running computation when the environment does.
 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "base/cpu.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const isa_names[] = {"portable", "avx2", "avx512"};

const char *cpu_isa_name(cpu_isa isa) { return isa_names[isa]; }

/* The best set of the processor which the system also saves at a task switch. */
static cpu_isa detect_isa(void) {
#if defined(__x86_64__)
    unsigned a, b, c = 0, d;
    __builtin_cpu_init();
    bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    if (!f16c || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return CPU_ISA_PORTABLE;
    }
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 ? CPU_ISA_AVX512 : CPU_ISA_AVX2;
#else
    return CPU_ISA_PORTABLE;
#endif
}

static cpu_isa choose_isa(void) {
    cpu_isa best = detect_isa();
    const char *wanted = getenv("CLOZE_ISA");
    for (int isa = 0; wanted && isa < (int)best; isa++) {
        if (strcmp(wanted, isa_names[isa]) == 0) return (cpu_isa)isa;
    }
    return best;
}

cpu_isa cpu_get_isa(void) {
    static _Atomic int cached = -1; /* two threads that meet here find the same answer */
    int isa = atomic_load(&cached);
    if (isa < 0) {
        int expected = -1, chosen = (int)choose_isa();
        isa = atomic_compare_exchange_strong(&cached, &expected, chosen) ? chosen : expected;
    }
    return (cpu_isa)isa;
}

/* The lowest logical processor on the same core, which stands for the core. */
static int core_leader(int cpu) {
    char path[96];
    int leader = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    if (!f) return cpu;
    if (fscanf(f, "%d", &leader) != 1 || leader < 0 || leader >= CPU_SETSIZE) leader = cpu;
    fclose(f);
    return leader;
}

/* Processors that a container's quota allows, rounded up; 0 = no quota is known. */
static int quota_cpus(void) {
    long long quota, period;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    bool limited = fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0;
    fclose(f);
    if (!limited || quota / period >= CPU_SETSIZE) return 0;
    return (int)((quota + period - 1) / period);
}

int cpu_count(void) {
    cpu_set_t allowed, cores;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    CPU_ZERO(&cores);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed)) CPU_SET(core_leader(cpu), &cores);
    }
    int count = CPU_COUNT(&cores), quota = quota_cpus();
    if (quota > 0 && quota < count) count = quota;
    return count > 0 ? count : 1;
}
