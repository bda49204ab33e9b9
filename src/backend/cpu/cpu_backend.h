/* The slots of backend_cpu that are not kernels of one instruction set. */
#ifndef CLOZE_BACKEND_CPU_CPU_BACKEND_H
#define CLOZE_BACKEND_CPU_CPU_BACKEND_H

#include "backend/backend.h"

cloze_status cpu_device_open(int device_id, int n_threads, backend_device **out, cloze_error *err);
void cpu_device_close(backend_device *dev);
cloze_status cpu_mem_alloc(backend_device *dev, size_t bytes, void **out, cloze_error *err);
void cpu_mem_free(backend_device *dev, void *p, size_t bytes);
cloze_status cpu_copy(backend_device *dev, void *dst, const void *src, size_t bytes,
                      cloze_error *err);
cloze_status cpu_zero(backend_device *dev, void *dst, size_t bytes, cloze_error *err);
cloze_status cpu_sync(backend_device *dev, cloze_error *err);
void cpu_weight_drop_packs(backend_device *dev, weight *w);

#define KERNEL(name, parameters, ...)                                                              \
    cloze_status cpu_##name(backend_device *dev, OPS_PLAIN parameters, cloze_error *err);
#include "backend/ops.def"
#undef KERNEL

#endif
