/* Shared by the fuzz targets of ckpt: opens bytes and reads every tensor that they give. */
#ifndef CLOZE_TESTS_CKPT_FUZZ_H
#define CLOZE_TESTS_CKPT_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "ckpt/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_READ_MAX ((size_t)1 << 20)

static inline void fuzz_read_tensor(const ckpt_tensor *t)
{
    if (t->bytes > FUZZ_READ_MAX) return; /* an expanded view of few bytes */
    uint8_t *raw = mem_alloc(t->bytes + 1);
    float *values = mem_alloc((size_t)t->count * sizeof *values + 1);
    char text[64];
    if (ckpt_read_raw(t, raw, t->bytes, NULL) != CLOZE_OK) abort();
    if (ckpt_read_f32(t, values, (size_t)t->count, NULL) != CLOZE_OK) abort();
    ckpt_shape_text(t, text, sizeof text);
    mem_free(raw);
    mem_free(values);
}

static inline void fuzz_open(const uint8_t *data, size_t n)
{
    ckpt *c;
    cloze_error err = {0};
    cloze_status status = ckpt_open_memory(data, n, "input", &c, &err);
    if (status != CLOZE_OK && (c || err.code != status || !err.message[0])) abort();
    size_t budget = 256; /* tensors read: an input of many tiny ones would only be slow */
    for (size_t i = 0; c && i < ckpt_count(c); i++) {
        const ckpt_tensor *t = ckpt_at(c, i);
        if (ckpt_find(c, t->name) != t) abort();
        if (budget > 0) {
            fuzz_read_tensor(t);
            budget--;
        }
    }
    ckpt_close(c);
}

#endif
