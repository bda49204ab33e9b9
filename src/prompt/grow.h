/* Growing arrays of this room: doubles the capacity, keeps the old array when memory runs out. */
#ifndef CLOZE_PROMPT_GROW_H
#define CLOZE_PROMPT_GROW_H

#include "base/mem.h"

/* The array with room for `need` elements of `size` bytes, or NULL (the old one stays valid). */
static inline void *grow_array(void *old, int64_t *cap, int64_t need, size_t size) {
    int64_t cap_new = *cap < 16 ? 16 : *cap;
    while (cap_new < need) {
        if (cap_new > INT64_MAX / 2) return NULL;
        cap_new *= 2;
    }
    if ((uint64_t)cap_new > SIZE_MAX / size) return NULL;
    void *p = mem_realloc(old, (size_t)*cap * size, (size_t)cap_new * size);
    if (p) *cap = cap_new;
    return p;
}

/* Makes room for `need` elements in array `ptr` of capacity `cap` (int64_t), or returns
 * CLOZE_ERR_MEMORY from the calling function. */
#define GROW_TO(err, ptr, cap, need)                                                               \
    do {                                                                                           \
        if ((int64_t)(need) > (cap)) {                                                             \
            void *grown_ = grow_array((ptr), &(cap), (int64_t)(need), sizeof *(ptr));              \
            if (!grown_)                                                                           \
                CLOZE_FAIL(err, MEMORY, "out of memory (%lld x %zu bytes)", (long long)(need),     \
                           sizeof *(ptr));                                                         \
            (ptr) = grown_;                                                                        \
        }                                                                                          \
    } while (0)

#endif
