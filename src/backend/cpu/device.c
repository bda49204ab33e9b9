/* Opening and closing the CPU device, and its memory. */
#include "backend/cpu/device.h"

#include <omp.h>
#include <string.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/onednn.h"
#include "backend/cpu/weight.h"
#include "base/error.h"
#include "base/mem.h"

#define HUGE_FROM ((size_t)4 << 20)  /* bytes from which memory is mapped and asks for huge pages  \
                                      */
#define ZERO_BLOCK ((size_t)1 << 20) /* bytes that one thread clears at a time */
#define MAX_THREADS 1024

void *device_mem_new(size_t bytes) {
    if (bytes < HUGE_FROM) return mem_calloc(bytes > 0 ? bytes : 1, 1);
    void *p = mem_map_zero(bytes);
    if (p) mem_map_dense(p, bytes);
    return p;
}

void device_mem_free(void *p, size_t bytes) {
    if (bytes < HUGE_FROM)
        mem_free(p);
    else
        mem_unmap(p, bytes);
}

cloze_status device_scratch(backend_device *dev, size_t bytes, void **out, cloze_error *err) {
    if (bytes > dev->scratch_bytes) {
        /* Room to grow: batches come in many sizes, and each size that is new would allocate anew.
         */
        size_t wanted = bytes + bytes / 4;
        device_mem_free(dev->scratch, dev->scratch_bytes);
        dev->scratch_bytes = 0;
        dev->scratch = device_mem_new(wanted);
        if (!dev->scratch) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes of scratch)", wanted);
        dev->scratch_bytes = wanted;
    }
    *out = dev->scratch;
    return CLOZE_OK;
}

cloze_status cpu_device_open(int device_id, int n_threads, backend_device **out, cloze_error *err) {
    backend_device *dev;
    *out = NULL;
    if (device_id != 0)
        CLOZE_FAIL(err, USAGE, "there is one cpu device, 0; %d was asked for", device_id);
    if (n_threads < 0 || n_threads > MAX_THREADS) {
        CLOZE_FAIL(err, USAGE, "the number of threads is %d; it must be 1..%d, or 0 for all cores",
                   n_threads, MAX_THREADS);
    }
    MEM_NEW(err, dev, 1);
    cpu_isa isa = cpu_get_isa();
    dev->n_threads = n_threads > 0 ? n_threads : cpu_count();
    /* OMP_THREAD_LIMIT: oneDNN cuts a product for as many threads as it is told, and leaves out the
     * parts of those that do not come. */
    if (dev->n_threads > omp_get_thread_limit()) dev->n_threads = omp_get_thread_limit();
    dev->kernels = isa == CPU_ISA_AVX512 ? &kernels_avx512
                   : isa == CPU_ISA_AVX2 ? &kernels_avx2
                                         : &kernels_portable;
    cloze_status status = onednn_open(isa, &dev->onednn, err);
    if (status != CLOZE_OK) {
        mem_free(dev);
        return status;
    }
    *out = dev;
    return CLOZE_OK;
}

void cpu_device_close(backend_device *dev) {
    if (!dev) return;
    onednn_close(dev->onednn);
    device_mem_free(dev->scratch, dev->scratch_bytes);
    mem_free(dev);
}

cloze_status cpu_mem_alloc(backend_device *dev, size_t bytes, void **out, cloze_error *err) {
    *out = device_mem_new(bytes);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes)", bytes);
    return CLOZE_OK;
}

void cpu_mem_free(backend_device *dev, void *p, size_t bytes) { device_mem_free(p, bytes); }

cloze_status cpu_copy(backend_device *dev, void *dst, const void *src, size_t bytes,
                      cloze_error *err) {
    if (bytes > 0) memcpy(dst, src, bytes);
    return CLOZE_OK;
}

cloze_status cpu_zero(backend_device *dev, void *dst, size_t bytes, cloze_error *err) {
    int64_t n_blocks = (int64_t)((bytes + ZERO_BLOCK - 1) / ZERO_BLOCK);
#pragma omp parallel for schedule(static) num_threads(device_threads(dev, (int64_t)bytes / 16))
    for (int64_t i = 0; i < n_blocks; i++) {
        size_t begin = (size_t)i * ZERO_BLOCK;
        memset((char *)dst + begin, 0, bytes - begin < ZERO_BLOCK ? bytes - begin : ZERO_BLOCK);
    }
    return CLOZE_OK;
}

cloze_status cpu_sync(backend_device *dev, cloze_error *err) { return CLOZE_OK; }

void cpu_weight_drop_packs(backend_device *dev, weight *w) { weight_packs_free(w); }
