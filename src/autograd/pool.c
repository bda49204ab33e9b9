/* Slabs, best fit and coalescing of the activation pool; see pool.h. */
#include "autograd/pool.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define POOL_POISON(data, bytes) ASAN_POISON_MEMORY_REGION(data, bytes)
#define POOL_UNPOISON(data, bytes) ASAN_UNPOISON_MEMORY_REGION(data, bytes)
#else
#define POOL_POISON(data, bytes) ((void)(data), (void)(bytes))
#define POOL_UNPOISON(data, bytes) ((void)(data), (void)(bytes))
#endif

#define SLAB_MIN_BYTES ((size_t)1 << 20)
#define SLAB_GROWTH 8 /* a new slab is at least held/8: few slabs before sizes settle */

struct pool_slab {
    void *data;
    size_t bytes;
    pool_slab *next;
};

void pool_init(pool *p, const backend *be, backend_device *dev, arena *meta) {
    *p = (pool){.be = be, .dev = dev, .meta = meta};
}

static void slabs_free(pool *p) {
    while (p->slabs) {
        pool_slab *slab = p->slabs;
        p->slabs = slab->next;
        POOL_UNPOISON(slab->data, slab->bytes);
        p->be->mem_free(p->dev, slab->data, slab->bytes);
        mem_free(slab);
    }
    p->held = 0;
}

void pool_deinit(pool *p) {
    slabs_free(p);
    *p = (pool){0};
}

static void free_list_add(pool *p, tape_buffer *b) {
    POOL_POISON(b->data, b->bytes);
    b->free_prev = NULL;
    b->free_next = p->free_list;
    if (b->free_next) b->free_next->free_prev = b;
    p->free_list = b;
}

static void free_list_remove(pool *p, tape_buffer *b) {
    if (b->free_prev)
        b->free_prev->free_next = b->free_next;
    else
        p->free_list = b->free_next;
    if (b->free_next) b->free_next->free_prev = b->free_prev;
}

static tape_buffer *buffer_new(pool *p, pool_slab *slab, char *data, size_t bytes) {
    tape_buffer *b = p->spares;
    if (b)
        p->spares = b->after;
    else
        b = arena_alloc(p->meta, sizeof *b);
    if (b) *b = (tape_buffer){.data = data, .bytes = bytes, .slab = slab};
    return b;
}

/* Puts the whole of a slab on the free list as one piece. */
static cloze_status slab_offer(pool *p, pool_slab *slab, cloze_error *err) {
    tape_buffer *whole = buffer_new(p, slab, slab->data, slab->bytes);
    if (!whole) CLOZE_FAIL(err, MEMORY, "out of memory for the tape's bookkeeping");
    free_list_add(p, whole);
    return CLOZE_OK;
}

static cloze_status slab_add(pool *p, size_t bytes, cloze_error *err) {
    pool_slab *slab;
    MEM_NEW(err, slab, 1);
    cloze_status status = p->be->mem_alloc(p->dev, bytes, &slab->data, err);
    if (status != CLOZE_OK) {
        mem_free(slab);
        return status;
    }
    slab->bytes = bytes;
    slab->next = p->slabs;
    p->slabs = slab;
    p->held += bytes;
    return slab_offer(p, slab, err);
}

cloze_status pool_reset(pool *p, cloze_error *err) {
    p->free_list = p->spares = NULL;
    p->in_use = 0;
    if (p->slabs && p->slabs->next) {
        size_t total = p->held;
        slabs_free(p);
        return slab_add(p, total, err);
    }
    return p->slabs ? slab_offer(p, p->slabs, err) : CLOZE_OK;
}

/* The smallest free piece that holds bytes; of equal ones the first in the list. */
static tape_buffer *best_fit(const pool *p, size_t bytes) {
    tape_buffer *best = NULL;
    for (tape_buffer *b = p->free_list; b; b = b->free_next) {
        if (b->bytes < bytes || (best && b->bytes >= best->bytes)) continue;
        best = b;
        if (b->bytes == bytes) break;
    }
    return best;
}

cloze_status pool_acquire(pool *p, size_t bytes, tape_buffer **out, cloze_error *err) {
    *out = NULL;
    if (bytes > PTRDIFF_MAX / 2) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes)", bytes);
    bytes = (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN;
    if (bytes == 0) bytes = MEM_ALIGN;
    tape_buffer *b = best_fit(p, bytes);
    if (!b) {
        size_t grown =
            bytes > p->held / SLAB_GROWTH ? bytes : p->held / SLAB_GROWTH / MEM_ALIGN * MEM_ALIGN;
        CLOZE_TRY(slab_add(p, grown > SLAB_MIN_BYTES ? grown : SLAB_MIN_BYTES, err));
        b = best_fit(p, bytes);
    }
    if (b->bytes > bytes) {
        tape_buffer *rest = buffer_new(p, b->slab, b->data + bytes, b->bytes - bytes);
        if (!rest) CLOZE_FAIL(err, MEMORY, "out of memory for the tape's bookkeeping");
        rest->before = b;
        rest->after = b->after;
        if (rest->after) rest->after->before = rest;
        b->after = rest;
        b->bytes = bytes;
        free_list_add(p, rest);
    }
    free_list_remove(p, b);
    POOL_UNPOISON(b->data, b->bytes);
    b->refs = 1;
    p->in_use += b->bytes;
    if (p->in_use > p->peak) p->peak = p->in_use;
    *out = b;
    return CLOZE_OK;
}

void pool_ref(tape_buffer *b) {
    if (b) b->refs++;
}

/* Joins two free neighbours into the first. */
static void absorb_after(pool *p, tape_buffer *b) {
    tape_buffer *gone = b->after;
    free_list_remove(p, gone);
    b->bytes += gone->bytes;
    b->after = gone->after;
    if (b->after) b->after->before = b;
    gone->after = p->spares;
    p->spares = gone;
}

void pool_unref(pool *p, tape_buffer *b) {
    if (!b || --b->refs > 0) return;
    p->in_use -= b->bytes;
    free_list_add(p, b);
    if (b->after && b->after->refs == 0) absorb_after(p, b);
    if (b->before && b->before->refs == 0) absorb_after(p, b->before);
}
