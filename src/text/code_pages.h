/*
 * A table over all code points, made page by page (256 code points) when one is first asked for:
 * what a tokenizer does with each code point. Loading costs nothing, and a text touches few pages.
 *
 * Shared by threads without locks: a page is immutable once it is published; when two threads make
 * the same page at once, one of them throws its copy away.
 */
#ifndef CLOZE_TEXT_CODE_PAGES_H
#define CLOZE_TEXT_CODE_PAGES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define CODE_PAGE_COUNT 0x1100
#define CODE_POOL_MAX 24 /* pool words that one code point may take */

/* A page: 256 entries, then the pool that entries may refer to by index from the page's begin. */
typedef uint32_t code_page;

/* Returns the entry of cp; may append up to CODE_POOL_MAX words at pool[*n], which will stand at
 * index 256 + *n of the page. */
typedef uint32_t (*code_entry_fn)(const void *context, uint32_t cp, uint32_t *pool, uint32_t *n);

typedef struct code_pages {
    _Atomic(code_page *) pages[CODE_PAGE_COUNT];
    code_entry_fn make_entry;
    const void *context; /* borrowed, immutable */
} code_pages;

void code_pages_init(code_pages *t, code_entry_fn make_entry, const void *context);
void code_pages_deinit(code_pages *t);
const code_page *code_pages_make(code_pages *t, uint32_t index); /* NULL: no memory */

/* The page of cp, whose entry is page[cp & 255]; NULL without memory. */
static inline const code_page *code_pages_get(code_pages *t, uint32_t cp) {
    const code_page *page = atomic_load_explicit(&t->pages[cp >> 8], memory_order_acquire);
    return __builtin_expect(page != NULL, 1) ? page : code_pages_make(t, cp >> 8);
}

#endif
