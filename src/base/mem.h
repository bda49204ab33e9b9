/*
 * The only place that calls malloc. Three lifetimes use it: model (mem_*), step (arena, reset each
 * step) and scratch (arena mark/release inside an op).
 *
 * mem_* return NULL when there is no memory. Any thread; an arena belongs to one thread.
 */
#ifndef CLOZE_BASE_MEM_H
#define CLOZE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define MEM_ALIGN 64 /* bytes; a cache line and an AVX-512 register */

void *mem_alloc(size_t bytes);                  /* 64-byte aligned, uninitialised; bytes may be 0 */
void *mem_calloc(size_t count, size_t size);    /* 64-byte aligned, zeroed; overflow gives NULL */
void *mem_realloc(void *p, size_t old_bytes, size_t new_bytes); /* old block stays when it fails */
void mem_free(void *p);                         /* NULL is accepted */
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t n);

/* Zero pages from the kernel: costs memory only where touched (row-lazy moments). */
void *mem_map_zero(size_t bytes);
void mem_unmap(void *p, size_t bytes);
/* Says of a part of a mapping that all of it will be touched: huge pages, where there are any, make
 * the first touch and every later one cheaper. */
void mem_map_dense(void *p, size_t bytes);
/* Says of a part of a mapping that few places of it will be touched: on systems that give huge
 * pages unasked, one row of a table would otherwise cost 2 MB. */
void mem_map_sparse(void *p, size_t bytes);

/* Blocks asked for by this process so far, all threads: for tests of what allocates nothing. */
uint64_t mem_allocation_count(void);
/* Fails the k-th allocation from now (0 = the next), -1 = never: for fault-injection tests. */
void mem_fail_after(int64_t k);

/* ptr = zeroed array of count elements, or return CLOZE_ERR_MEMORY. */
#define MEM_NEW(err, ptr, count)                                                                  \
    do {                                                                                          \
        (ptr) = mem_calloc((size_t)(count), sizeof *(ptr));                                       \
        if (!(ptr)) CLOZE_FAIL(err, MEMORY, "out of memory (%zu x %zu bytes)", (size_t)(count),   \
                               sizeof *(ptr));                                                    \
    } while (0)

typedef struct arena_block arena_block;
typedef struct arena {
    arena_block *head;  /* chain of blocks, the current one first */
    size_t block_bytes; /* size of a fresh block */
} arena;
typedef struct arena_mark { arena_block *block; size_t used; } arena_mark;

void arena_init(arena *a, size_t block_bytes);
void arena_deinit(arena *a);
void *arena_alloc(arena *a, size_t bytes);              /* 64-byte aligned, zeroed; NULL: no memory */
void *arena_copy(arena *a, const void *data, size_t n); /* NULL: no memory */
char *arena_strdup(arena *a, const char *text);
void arena_reset(arena *a); /* keeps the memory: the next step allocates nothing */
arena_mark arena_get_mark(const arena *a);
void arena_release(arena *a, arena_mark mark);

#endif
