/*
 * Weight copies ("packs"). Weights may be shared between sessions that predict, so packs are looked
 * up without a lock (the list only grows, and a pack is published when it is complete) and made
 * under one. A version only moves on while one session trains, so remaking in place disturbs
 * nobody.
 */
#include "backend/cpu/weight.h"

#include <pthread.h>

#include "backend/cpu/onednn.h"
#include "base/error.h"
#include "base/mem.h"

typedef struct pack_kind {
    cloze_dtype dtype;
    bool rounded; /* f32 holding bf16 numbers */
    weight_layout layout;
} pack_kind;

struct weight_pack {
    weight_pack *next;
    pack_kind kind;
    uint64_t version; /* of the weight when the copy was made */
    tensor t;         /* (M,K); blocks have its type and size, not its order */
    size_t bytes;
};

static pthread_mutex_t pack_lock = PTHREAD_MUTEX_INITIALIZER;

static weight_pack *pack_find(weight *w, pack_kind kind) {
    weight_pack *p = __atomic_load_n(&w->packs, __ATOMIC_ACQUIRE);
    while (p && (p->kind.dtype != kind.dtype || p->kind.rounded != kind.rounded ||
                 p->kind.layout != kind.layout))
        p = p->next;
    return p;
}

static bool pack_is_fresh(const weight_pack *p, const weight *w) {
    return p && __atomic_load_n(&p->version, __ATOMIC_ACQUIRE) == w->version;
}

static size_t pack_bytes(const weight *w, pack_kind kind) {
    int64_t rows = w->t.rows, cols = w->t.cols;
    switch (kind.layout) {
    case WEIGHT_BLOCKS: return blocks_bytes(kind.dtype, rows, cols);
    case WEIGHT_BLOCKS_TRANSPOSED: return blocks_bytes(kind.dtype, cols, rows);
    case WEIGHT_ROWS: break;
    }
    return (size_t)(rows * cols) * dtype_size(kind.dtype);
}

static cloze_status pack_new(const weight *w, pack_kind kind, weight_pack **out, cloze_error *err) {
    weight_pack *p;
    MEM_NEW(err, p, 1);
    p->kind = kind;
    p->bytes = pack_bytes(w, kind);
    void *data = device_mem_new(p->bytes);
    if (!data) {
        mem_free(p);
        CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes for a weight)", pack_bytes(w, kind));
    }
    p->t = tensor_of(data, kind.dtype, w->t.rows, w->t.cols);
    *out = p;
    return CLOZE_OK;
}

/* Copies w into p, by way of bf16 rows where they are to be rounded. */
static cloze_status pack_fill(backend_device *dev, const weight *w, weight_pack *p,
                              cloze_error *err) {
    if (p->kind.layout != WEIGHT_ROWS) {
        dev->kernels->make_blocks(device_threads(dev, w->t.rows * w->t.cols), &w->t,
                                  p->kind.layout == WEIGHT_BLOCKS_TRANSPOSED, p->kind.dtype,
                                  p->t.data);
        return CLOZE_OK;
    }
    if (!p->kind.rounded) return dev->kernels->axpy(dev, 1.0f, &w->t, false, &p->t, err);
    void *memory;
    CLOZE_TRY(device_scratch(dev, (size_t)w->t.cols * sizeof(uint16_t), &memory, err));
    tensor low = tensor_of(memory, DTYPE_BF16, 1, w->t.cols);
    for (int64_t row = 0; row < w->t.rows; row++) {
        tensor from = tensor_rows(&w->t, row, 1), wide = tensor_rows(&p->t, row, 1);
        CLOZE_TRY(dev->kernels->axpy(dev, 1.0f, &from, false, &low, err));
        CLOZE_TRY(dev->kernels->axpy(dev, 1.0f, &low, false, &wide, err));
    }
    return CLOZE_OK;
}

static cloze_status pack_make(backend_device *dev, weight *w, pack_kind kind, weight_pack **out,
                              cloze_error *err) {
    weight_pack *p = pack_find(w, kind);
    *out = p;
    if (pack_is_fresh(p, w)) return CLOZE_OK; /* another thread was faster */
    bool is_new = !p;
    if (is_new) CLOZE_TRY(pack_new(w, kind, &p, err));
    cloze_status status = pack_fill(dev, w, p, err);
    if (status == CLOZE_OK) __atomic_store_n(&p->version, w->version, __ATOMIC_RELEASE);
    if (is_new && status == CLOZE_OK) {
        p->next = w->packs;
        w->free_packs = weight_packs_free;
        __atomic_store_n(&w->packs, p, __ATOMIC_RELEASE);
    } else if (is_new) {
        device_mem_free(p->t.data, p->bytes);
        mem_free(p);
    }
    *out = p;
    return status;
}

cloze_status weight_for_product(backend_device *dev, weight *w, cloze_dtype dtype, bool round_bf16,
                                weight_layout layout, tensor *out, cloze_error *err) {
    /* bf16 numbers are round already */
    pack_kind kind = {dtype, round_bf16 && dtype == DTYPE_F32 && w->t.dtype != DTYPE_BF16, layout};
    *out = w->t;
    if (layout == WEIGHT_ROWS && w->t.dtype == dtype && !kind.rounded) return CLOZE_OK;
    weight_pack *p = pack_find(w, kind);
    if (!pack_is_fresh(p, w)) {
        pthread_mutex_lock(&pack_lock);
        cloze_status status = pack_make(dev, w, kind, &p, err);
        pthread_mutex_unlock(&pack_lock);
        CLOZE_TRY(status);
    }
    *out = p->t;
    return CLOZE_OK;
}

size_t weight_packs_bytes(const weight *w) {
    size_t bytes = 0;
    for (const weight_pack *p = w->packs; p; p = p->next) bytes += p->bytes;
    return bytes;
}

void weight_packs_free(weight *w) {
    while (w->packs) {
        weight_pack *p = w->packs;
        w->packs = p->next;
        device_mem_free(p->t.data, p->bytes);
        mem_free(p);
    }
}
