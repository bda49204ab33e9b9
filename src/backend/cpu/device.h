/*
 * The CPU device: threads, the kernels of this processor, oneDNN's state and one grow-only scratch
 * buffer. A device is used by one thread at a time, and kernels do not nest, so one buffer is
 * enough; after the first step of the largest shapes nothing is allocated any more.
 */
#ifndef CLOZE_BACKEND_CPU_DEVICE_H
#define CLOZE_BACKEND_CPU_DEVICE_H

#include "backend/cpu/kernels.h"

struct onednn;

struct backend_device {
    int n_threads;
    const cpu_kernels *kernels;
    struct onednn *onednn;
    void *scratch; /* scratch_bytes, contents undefined between calls */
    size_t scratch_bytes;
};

/* At least `bytes` of 64-byte aligned scratch, valid until the next call; contents undefined. */
cloze_status device_scratch(backend_device *dev, size_t bytes, void **out, cloze_error *err);

/* Memory for tensors and packs: zeroed, 64-byte aligned, on huge pages where it is large. */
void *device_mem_new(size_t bytes);
void device_mem_free(void *p, size_t bytes);

/* Below this many element operations a thread costs more than it gives. */
#define WORK_PER_THREAD 16384

/* How many threads a kernel of `work` element operations should use. */
static inline int device_threads(const backend_device *dev, int64_t work) {
    int64_t useful = work / WORK_PER_THREAD;
    if (useful < 1) return 1;
    return useful < dev->n_threads ? (int)useful : dev->n_threads;
}

#endif
