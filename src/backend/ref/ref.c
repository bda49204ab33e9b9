/* The reference backend's table of slots and what its kernels share: scratch and checks. */
#include "backend/ref/ref.h"

#include <string.h>

#include "base/mem.h"

cloze_status ref_scratch(backend_device *dev, int64_t count, double **out, cloze_error *err) {
    if ((size_t)count > dev->scratch_count) {
        mem_free(dev->scratch);
        dev->scratch_count = 0;
        MEM_NEW(err, dev->scratch, count);
        dev->scratch_count = (size_t)count;
    }
    if (count > 0) memset(dev->scratch, 0, (size_t)count * sizeof(double));
    *out = dev->scratch;
    return CLOZE_OK;
}

cloze_status ref_check_shape(const char *kernel, const char *name, const tensor *t, int64_t rows,
                             int64_t cols, cloze_error *err) {
    if (!t || (t->rows == rows && t->cols == cols && t->ld >= cols)) return CLOZE_OK;
    CLOZE_FAIL(err, INTERNAL, "%s: %s is (%lld,%lld) with ld %lld, (%lld,%lld) was expected",
               kernel, name, (long long)t->rows, (long long)t->cols, (long long)t->ld,
               (long long)rows, (long long)cols);
}

cloze_status ref_check_ids(const char *kernel, const int32_t *ids, int64_t n, int64_t limit,
                           cloze_error *err) {
    for (int64_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= limit) {
            CLOZE_FAIL(err, INTERNAL, "%s: index %lld is %d, outside [0, %lld)", kernel,
                       (long long)i, (int)ids[i], (long long)limit);
        }
    }
    return CLOZE_OK;
}

const backend backend_ref = {
    .name = "ref",
    .device_open = ref_device_open,
    .device_close = ref_device_close,
    .mem_alloc = ref_mem_alloc,
    .mem_free = ref_mem_free,
    .upload = ref_copy,
    .download = ref_copy,
    .zero = ref_zero,
    .sync = ref_sync,
    .weight_drop_packs = ref_weight_drop_packs,
#define KERNEL(name, ...) .name = ref_##name,
#include "backend/ops.def"
#undef KERNEL
};
