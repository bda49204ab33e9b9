/*
 * The activation pool: reference-counted buffers cut from large slabs of device memory.
 *
 * Best fit with coalescing, so batches of different lengths share the same memory; everything is
 * free again after pool_reset, so equal steps make equal cuts and, after the first few, none
 * allocates. When a step needed more than one slab, the next reset joins them into one. Fresh pages
 * are touched only as far as a step really reaches. Bookkeeping lives in the tape's step arena.
 */
#ifndef CLOZE_AUTOGRAD_POOL_H
#define CLOZE_AUTOGRAD_POOL_H

#include "backend/backend.h"
#include "base/mem.h"

typedef struct pool_slab pool_slab;

/* A piece of a slab: in use while refs > 0. */
typedef struct tape_buffer {
    char *data;
    size_t bytes;
    int64_t refs;
    pool_slab *slab;
    struct tape_buffer *before, *after;        /* neighbours in the slab */
    struct tape_buffer *free_prev, *free_next; /* in the pool's free list, while refs == 0 */
} tape_buffer;

typedef struct pool {
    const backend *be;
    backend_device *dev;
    arena *meta; /* borrowed: tape_buffer structs, forgotten with the step */
    pool_slab *slabs;
    tape_buffer *free_list; /* pieces with refs == 0 */
    tape_buffer *spares;    /* structs without a piece, linked by after */
    size_t held;            /* bytes of all slabs */
    size_t in_use, peak;    /* bytes of pieces with refs > 0; the most of it so far */
} pool;

void pool_init(pool *p, const backend *be, backend_device *dev, arena *meta);
void pool_deinit(pool *p);
/* All pieces are free again. `meta` must have been reset just before. */
cloze_status pool_reset(pool *p, cloze_error *err);
/* A piece of at least bytes, 64-byte aligned, with one reference; its content is unspecified. */
cloze_status pool_acquire(pool *p, size_t bytes, tape_buffer **out, cloze_error *err);
void pool_ref(tape_buffer *b);            /* NULL is accepted */
void pool_unref(pool *p, tape_buffer *b); /* NULL is accepted */

#endif
