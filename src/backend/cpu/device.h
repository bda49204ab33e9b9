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

/* Below twice this many element operations more threads cost more than they give. */
#define WORK_PER_THREAD 16384

/*
 * How many threads a kernel of `work` element operations should use: one or all. Nothing between,
 * because libgomp ends the threads that a smaller team leaves over and makes them anew for the next
 * larger one.
 */
static inline int device_threads(const backend_device *dev, int64_t work) {
    return work < 2 * WORK_PER_THREAD ? 1 : dev->n_threads;
}

#endif
