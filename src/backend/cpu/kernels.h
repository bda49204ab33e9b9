/*
 * What the rest of the CPU backend sees of kernels/: one table of functions for each instruction
 * set, with the slots of the device interface but for the matrix products, which are oneDNN's.
 */
#ifndef CLOZE_BACKEND_CPU_KERNELS_H
#define CLOZE_BACKEND_CPU_KERNELS_H

#include "backend/backend.h"
#include "base/cpu.h"

typedef struct cpu_kernels {
#define KERNEL(name, parameters, ...)                                                              \
    cloze_status (*name)(backend_device * dev, OPS_PLAIN parameters, cloze_error * err);
#define PRODUCT(...)
#include "backend/ops.def"
#undef KERNEL
    /* out = w (k,n), or w^T, in the blocks of onednn.h and of type dtype (f32 or bf16); room for
     * blocks_bytes */
    void (*make_blocks)(int threads, const tensor *w, bool transpose, cloze_dtype dtype, void *out);
    /* out (C, R') = transpose of x (R, C), converted to out's type; R' >= R even, the rest zeros */
    void (*transpose)(int threads, const tensor *x, tensor *out);
} cpu_kernels;

extern const cpu_kernels kernels_portable;
extern const cpu_kernels kernels_avx2;
extern const cpu_kernels kernels_avx512;

#endif
