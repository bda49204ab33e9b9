/* Pages of per-code-point entries, made on demand and published by compare-and-swap. */
#include "text/code_pages.h"

#include <string.h>

#include "base/mem.h"

void code_pages_init(code_pages *t, code_entry_fn make_entry, const void *context) {
    for (int i = 0; i < CODE_PAGE_COUNT; i++) atomic_init(&t->pages[i], NULL);
    t->make_entry = make_entry;
    t->context = context;
}

void code_pages_deinit(code_pages *t) {
    for (int i = 0; i < CODE_PAGE_COUNT; i++)
        mem_free(atomic_load_explicit(&t->pages[i], memory_order_relaxed));
}

const code_page *code_pages_make(code_pages *t, uint32_t index) {
    uint32_t entries[256], pool[256 * CODE_POOL_MAX], n = 0; /* 25 KB of stack */
    for (uint32_t i = 0; i < 256; i++)
        entries[i] = t->make_entry(t->context, index << 8 | i, pool, &n);
    code_page *page = mem_alloc(sizeof entries + n * sizeof *pool);
    if (!page) return NULL;
    memcpy(page, entries, sizeof entries);
    memcpy(page + 256, pool, n * sizeof *pool);
    code_page *expected = NULL;
    if (!atomic_compare_exchange_strong_explicit(&t->pages[index], &expected, page,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        mem_free(page);
        return expected;
    }
    return page;
}
