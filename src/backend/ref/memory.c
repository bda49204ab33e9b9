/* Devices and memory of the reference backend: the host's own. */
#include <string.h>

#include "backend/ref/ref.h"
#include "base/mem.h"

cloze_status ref_device_open(int device_id, int n_threads, backend_device **out, cloze_error *err) {
    MEM_NEW(err, *out, 1);
    return CLOZE_OK;
}

void ref_device_close(backend_device *dev) {
    if (!dev) return;
    mem_free(dev->scratch);
    mem_free(dev);
}

cloze_status ref_mem_alloc(backend_device *dev, size_t bytes, void **out, cloze_error *err) {
    *out = mem_calloc(bytes > 0 ? bytes : 1, 1);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes)", bytes);
    return CLOZE_OK;
}

void ref_mem_free(backend_device *dev, void *p, size_t bytes) { mem_free(p); }

cloze_status ref_copy(backend_device *dev, void *dst, const void *src, size_t bytes,
                      cloze_error *err) {
    if (bytes > 0) memcpy(dst, src, bytes);
    return CLOZE_OK;
}

cloze_status ref_zero(backend_device *dev, void *dst, size_t bytes, cloze_error *err) {
    if (bytes > 0) memset(dst, 0, bytes);
    return CLOZE_OK;
}

cloze_status ref_sync(backend_device *dev, cloze_error *err) { return CLOZE_OK; }

void ref_weight_drop_packs(backend_device *dev, weight *w) {}
