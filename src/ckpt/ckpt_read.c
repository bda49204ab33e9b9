/*
 * Looking at an open checkpoint: finding tensors and reading their values through any strides.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ckpt/checkpoint.h"
#include "ckpt/ckpt_internal.h"

#define GATHER_ELEMENTS 512
#define TURN_ROWS 16

const char *ckpt_format(const ckpt *c) { return c->format; }

size_t ckpt_count(const ckpt *c) { return c->n_tensors; }

const ckpt_tensor *ckpt_at(const ckpt *c, size_t i) { return &c->tensors[i]; }

const ckpt_tensor *ckpt_find(const ckpt *c, const char *name)
{
    int32_t i = hash_map_get(&c->index, name, strlen(name), -1);
    return i < 0 ? NULL : &c->tensors[i];
}

const char *ckpt_metadata_get(const ckpt *c, const char *key)
{
    for (size_t i = 0; i < c->n_pairs; i++) {
        if (strcmp(c->pairs[i].key, key) == 0) return c->pairs[i].value;
    }
    return NULL;
}

/* n elements of `size` bytes, `stride` elements apart, to contiguous ones. */
static void gather(uint8_t *dst, const uint8_t *src, size_t size, int64_t stride, size_t n)
{
    size_t step = (size_t)stride * size;
    switch (size) { /* constant sizes let the compiler use one move each */
    case 1: for (size_t i = 0; i < n; i++) dst[i] = src[i * step]; break;
    case 2: for (size_t i = 0; i < n; i++) memcpy(dst + 2 * i, src + i * step, 2); break;
    case 4: for (size_t i = 0; i < n; i++) memcpy(dst + 4 * i, src + i * step, 4); break;
    default: for (size_t i = 0; i < n; i++) memcpy(dst + 8 * i, src + i * step, 8); break;
    }
}

/* One row (n elements along the last dimension) to out, as floats or as they are. */
static void read_row(const ckpt_tensor *t, const uint8_t *row, int64_t stride, size_t n,
                     uint8_t *out, bool as_f32)
{
    size_t size = dtype_size(t->dtype), out_size = as_f32 ? sizeof(float) : size;
    uint64_t gathered[GATHER_ELEMENTS]; /* of at most 8 bytes an element */
    if (stride == 1 && as_f32) {
        dtype_to_f32((float *)(void *)out, row, t->dtype, n);
    } else if (stride == 1) {
        memcpy(out, row, n * size);
    } else {
        for (size_t done = 0; done < n; done += GATHER_ELEMENTS) {
            size_t m = n - done < GATHER_ELEMENTS ? n - done : GATHER_ELEMENTS;
            const uint8_t *src = row + done * (size_t)stride * size;
            if (!as_f32) {
                gather(out + done * size, src, size, stride, m);
                continue;
            }
            gather((uint8_t *)gathered, src, size, stride, m);
            dtype_to_f32((float *)(void *)(out + done * out_size), gathered, t->dtype, m);
        }
    }
}

/*
 * A matrix whose columns are contiguous (the transposed view of a row-major one). Pieces of
 * TURN_ROWS rows are read along their columns and spread over as many rows of out: both sides stay
 * in the cache.
 */
static void read_turned(const ckpt_tensor *t, uint8_t *out, bool as_f32)
{
    size_t size = dtype_size(t->dtype), out_size = as_f32 ? sizeof(float) : size;
    size_t rows = (size_t)t->shape[0], cols = (size_t)t->shape[1];
    uint64_t piece[TURN_ROWS]; /* of at most 8 bytes an element */
    for (size_t first = 0; first < rows; first += TURN_ROWS) {
        size_t n = rows - first < TURN_ROWS ? rows - first : TURN_ROWS;
        for (size_t c = 0; c < cols; c++) {
            const uint8_t *src =
                (const uint8_t *)t->data + (first + c * (size_t)t->stride[1]) * size;
            if (as_f32) dtype_to_f32((float *)(void *)piece, src, t->dtype, n);
            else memcpy(piece, src, n * size);
            for (size_t r = 0; r < n; r++)
                memcpy(out + ((first + r) * cols + c) * out_size,
                       (const uint8_t *)piece + r * out_size, out_size);
        }
    }
}

static void read_rows(const ckpt_tensor *t, uint8_t *out, bool as_f32)
{
    size_t size = dtype_size(t->dtype), out_size = as_f32 ? sizeof(float) : size;
    if (t->count == 0) return;
    if (t->contiguous) {
        read_row(t, t->data, 1, (size_t)t->count, out, as_f32);
        return;
    }
    if (t->rank == 2 && t->stride[0] == 1) {
        read_turned(t, out, as_f32);
        return;
    }
    int last = t->rank - 1; /* a scalar is contiguous, so rank >= 1 here */
    int64_t at[CKPT_MAX_RANK] = {0}; /* odometer over all dimensions but the last */
    for (;;) {
        int64_t offset = 0;
        for (int i = 0; i < last; i++) offset += at[i] * t->stride[i];
        read_row(t, (const uint8_t *)t->data + (size_t)offset * size, t->stride[last],
                 (size_t)t->shape[last], out, as_f32);
        out += (size_t)t->shape[last] * out_size;
        int i = last - 1;
        while (i >= 0 && ++at[i] == t->shape[i]) at[i--] = 0;
        if (i < 0) return;
    }
}

void ckpt_transpose(ckpt_tensor *t)
{
    if (t->rank != 2) return;
    int64_t size = t->shape[0], stride = t->stride[0];
    t->shape[0] = t->shape[1];
    t->stride[0] = t->stride[1];
    t->shape[1] = size;
    t->stride[1] = stride;
    t->contiguous = t->stride[1] == 1 && t->stride[0] == t->shape[1];
}

cloze_status ckpt_read_f32(const ckpt_tensor *t, float *out, size_t count, cloze_error *err)
{
    if ((int64_t)count != t->count)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has %lld elements where %zu are wanted", t->file,
                   t->name, (long long)t->count, count);
    read_rows(t, (uint8_t *)out, true);
    return CLOZE_OK;
}

cloze_status ckpt_read_raw(const ckpt_tensor *t, void *out, size_t bytes, cloze_error *err)
{
    if (bytes != t->bytes)
        CLOZE_FAIL(err, MODEL, "%s: tensor '%s' has %zu bytes where %zu are wanted", t->file,
                   t->name, t->bytes, bytes);
    read_rows(t, out, false);
    return CLOZE_OK;
}

void ckpt_advise_dontneed(const ckpt_tensor *t)
{
    /* Heap memory would come back as zeros, and a strided view shares its pages with others. */
    if (!t->mapped || !t->contiguous) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)t->data + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)t->data + t->bytes) / page * page;
    if (begin < end) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

const char *ckpt_shape_text(const ckpt_tensor *t, char *text, size_t n)
{
    size_t used = (size_t)snprintf(text, n, "(");
    for (int i = 0; i < t->rank && used < n; i++)
        used += (size_t)snprintf(text + used, n - used, i ? ", %lld" : "%lld",
                                 (long long)t->shape[i]);
    if (used < n) snprintf(text + used, n - used, ")");
    return text;
}
