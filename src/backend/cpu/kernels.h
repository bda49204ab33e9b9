/*
 * What the rest of the CPU backend sees of kernels/: one table of functions for each instruction
 * set, with the slots of the device interface. Slots that kernels/ does not fill (the matrix
 * products, which are oneDNN's) stay NULL; dispatch.c knows which.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_H
#define CLOZE_BACKEND_CPU_KERNELS_H

#include "backend/backend.h"
#include "base/cpu.h"

typedef struct cpu_kernels {
#define KERNEL(name, ...)                                                                          \
    cloze_status (*name)(backend_device * dev, __VA_ARGS__, cloze_error * err);
#include "backend/ops.def"
#undef KERNEL
} cpu_kernels;

extern const cpu_kernels kernels_portable;
extern const cpu_kernels kernels_avx2;
extern const cpu_kernels kernels_avx512;

#endif
