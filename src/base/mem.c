/*
 * The only place that calls the C library's allocator, so that one hook can make any allocation
 * fail and every block is aligned for the widest vector unit.
 *
 * An arena is a doubly linked chain of blocks. Blocks before `head` are full, `head` is being
 * filled, blocks after it are spare: reset and release only move `head` back, and a later
 * allocation takes the first spare block that is large enough.
 */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define MEM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_ASAN 1
#endif
#endif
#ifdef MEM_ASAN
#include <sanitizer/asan_interface.h>
#define MEM_POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define MEM_UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define MEM_POISON(p, n) ((void)(p), (void)(n))
#define MEM_UNPOISON(p, n) ((void)(p), (void)(n))
#endif

struct arena_block {
    arena_block *older, *newer;
    size_t size, used; /* of the data, which begins BLOCK_HEADER bytes after the block */
};
#define BLOCK_HEADER MEM_ALIGN
_Static_assert(sizeof(arena_block) <= BLOCK_HEADER, "a block's data must stay aligned");

static _Atomic uint64_t allocation_count;

uint64_t mem_allocation_count(void) { return atomic_load(&allocation_count); }

/* Allocations to go before the one that fails; below zero: none fails. */
static _Atomic int64_t allocations_left = -1;

void mem_fail_after(int64_t k) { atomic_store(&allocations_left, k < 0 ? -1 : k); }

/* Counts an allocation. Exactly one caller gets true, however many threads count down together. */
static bool must_fail(void) {
    atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed);
    if (atomic_load_explicit(&allocations_left, memory_order_relaxed) < 0) return false;
    return atomic_fetch_sub(&allocations_left, 1) == 0;
}

/* bytes rounded up to the alignment, at least one unit; 0 when it does not fit. */
static size_t round_up(size_t bytes) {
    if (bytes > SIZE_MAX - MEM_ALIGN) return 0;
    return bytes ? (bytes + MEM_ALIGN - 1) / MEM_ALIGN * MEM_ALIGN : MEM_ALIGN;
}

void *mem_alloc(size_t bytes) {
    size_t size = round_up(bytes);
    if (!size || size > PTRDIFF_MAX || must_fail()) return NULL;
    return aligned_alloc(MEM_ALIGN, size);
}

void *mem_calloc(size_t count, size_t size) {
    if (size && count > SIZE_MAX / size) return NULL;
    void *p = mem_alloc(count * size);
    if (p) memset(p, 0, count * size);
    return p;
}

void *mem_realloc(void *p, size_t old_bytes, size_t new_bytes) {
    void *grown = mem_alloc(new_bytes);
    if (!grown) return NULL;
    size_t kept = old_bytes < new_bytes ? old_bytes : new_bytes;
    if (p && kept) memcpy(grown, p, kept);
    free(p);
    return grown;
}

void mem_free(void *p) { free(p); }

char *mem_strdup(const char *text) { return mem_strndup(text, strlen(text)); }

char *mem_strndup(const char *text, size_t n) {
    if (n == SIZE_MAX) return NULL;
    char *copy = mem_alloc(n + 1);
    if (!copy) return NULL;
    if (n) memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

void *mem_map_zero(size_t bytes) {
    if (must_fail()) return NULL;
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void mem_unmap(void *p, size_t bytes) {
    if (p) munmap(p, bytes ? bytes : 1);
}

/* Of the whole pages between p and p + bytes. A refusal only costs speed or memory. */
static void advise(void *p, size_t bytes, int advice) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)p + page - 1) / page * page, end = (uintptr_t)p + bytes;
    if (end > begin) madvise((void *)begin, end - begin, advice);
}

void mem_map_dense(void *p, size_t bytes) { advise(p, bytes, MADV_HUGEPAGE); }

void mem_map_sparse(void *p, size_t bytes) { advise(p, bytes, MADV_NOHUGEPAGE); }

/* ---- arena ---- */

static char *block_data(arena_block *block) { return (char *)block + BLOCK_HEADER; }

void arena_init(arena *a, size_t block_bytes) {
    a->head = NULL;
    a->block_bytes = block_bytes;
}

static arena_block *arena_oldest(const arena *a) {
    arena_block *block = a->head;
    while (block && block->older) block = block->older;
    return block;
}

void arena_deinit(arena *a) {
    arena_block *block = arena_oldest(a);
    while (block) {
        arena_block *newer = block->newer;
        MEM_UNPOISON(block_data(block), block->size);
        mem_free(block);
        block = newer;
    }
    a->head = NULL;
}

/* Puts block right after head and makes it the head. */
static void arena_push(arena *a, arena_block *block) {
    block->older = a->head;
    block->newer = a->head ? a->head->newer : NULL;
    if (block->older) block->older->newer = block;
    if (block->newer) block->newer->older = block;
    block->used = 0;
    a->head = block;
}

/* Makes a block with room for size bytes the head: a spare one, or a fresh one. */
static bool arena_grow(arena *a, size_t size) {
    for (arena_block *spare = a->head ? a->head->newer : NULL; spare; spare = spare->newer) {
        if (spare->size < size) continue;
        spare->older->newer = spare->newer; /* a spare block always has an older one: the head */
        if (spare->newer) spare->newer->older = spare->older;
        arena_push(a, spare);
        return true;
    }
    size_t wanted = size > a->block_bytes ? size : round_up(a->block_bytes);
    if (!wanted || wanted > SIZE_MAX - BLOCK_HEADER) return false;
    arena_block *fresh = mem_alloc(BLOCK_HEADER + wanted);
    if (!fresh) return false;
    fresh->size = wanted;
    MEM_POISON(block_data(fresh), wanted);
    arena_push(a, fresh);
    return true;
}

void *arena_alloc(arena *a, size_t bytes) {
    size_t size = round_up(bytes);
    if (!size) return NULL;
    if (!a->head || a->head->size - a->head->used < size) {
        if (!arena_grow(a, size)) return NULL;
    }
    char *p = block_data(a->head) + a->head->used;
    a->head->used += size;
    MEM_UNPOISON(p, bytes);
    memset(p, 0, bytes);
    return p;
}

void *arena_copy(arena *a, const void *data, size_t n) {
    void *copy = arena_alloc(a, n);
    if (copy && n) memcpy(copy, data, n);
    return copy;
}

char *arena_strdup(arena *a, const char *text) { return arena_copy(a, text, strlen(text) + 1); }

void arena_reset(arena *a) { arena_release(a, (arena_mark){NULL, 0}); }

arena_mark arena_get_mark(const arena *a) {
    return (arena_mark){a->head, a->head ? a->head->used : 0};
}

void arena_release(arena *a, arena_mark mark) {
    if (!a->head) return;
    while (a->head != mark.block && a->head->older) {
        a->head->used = 0;
        MEM_POISON(block_data(a->head), a->head->size);
        a->head = a->head->older;
    }
    /* A mark of an arena that was still empty has no block: everything goes. */
    a->head->used = a->head == mark.block ? mark.used : 0;
    MEM_POISON(block_data(a->head) + a->head->used, a->head->size - a->head->used);
}
