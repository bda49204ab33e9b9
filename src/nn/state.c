/* The parameters of a model and the checkpoint tensors that they hold. */
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "nn/nn.h"

void nn_state_deinit(nn_state *s) {
    for (int i = 0; i < s->n_params; i++) {
        param_deinit(s->params[i]);
        mem_free(s->params[i]);
    }
    for (int i = 0; i < s->n_entries; i++) mem_free(s->entries[i].name);
    mem_free(s->params);
    mem_free(s->inits);
    mem_free(s->entries);
    memset(s, 0, sizeof *s);
}

/* Doubles an array of `size`-byte elements when it is full. */
static cloze_status grow(void **items, int n, int cap, size_t size, cloze_error *err) {
    if (n < cap) return CLOZE_OK;
    size_t wanted = cap ? 2 * (size_t)cap : 64;
    void *bigger = mem_realloc(*items, (size_t)cap * size, wanted * size);
    if (!bigger) CLOZE_FAIL(err, MEMORY, "out of memory for %zu parameters", wanted);
    *items = bigger;
    return CLOZE_OK;
}

cloze_status nn_state_add_param(nn_state *s, const char *name, int rank, int64_t rows, int64_t cols,
                                nn_init init, param **out, cloze_error *err) {
    CLOZE_TRY(grow((void **)&s->inits, s->n_params, s->cap_params, sizeof *s->inits, err));
    CLOZE_TRY(grow((void **)&s->params, s->n_params, s->cap_params, sizeof *s->params, err));
    if (s->n_params == s->cap_params) s->cap_params = s->cap_params ? 2 * s->cap_params : 64;
    param *p;
    MEM_NEW(err, p, 1);
    p->name = mem_strdup(name);
    if (!p->name) {
        mem_free(p);
        CLOZE_FAIL(err, MEMORY, "out of memory for the parameter %s", name);
    }
    p->rank = rank;
    p->no_decay = rank == 1;
    p->w.t = tensor_of(NULL, DTYPE_F32, rows, cols);
    s->inits[s->n_params] = init;
    s->params[s->n_params++] = p;
    *out = p;
    return CLOZE_OK;
}

cloze_status nn_state_add_entry(nn_state *s, const char *name, param *p, int64_t row_begin,
                                int64_t rows, bool head, cloze_error *err) {
    CLOZE_TRY(grow((void **)&s->entries, s->n_entries, s->cap_entries, sizeof *s->entries, err));
    if (s->n_entries == s->cap_entries) s->cap_entries = s->cap_entries ? 2 * s->cap_entries : 64;
    char *copy = mem_strdup(name);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for the tensor name %s", name);
    s->entries[s->n_entries++] = (nn_entry){copy, p, row_begin, rows, head};
    return CLOZE_OK;
}

const nn_entry *nn_state_find(const nn_state *s, const char *name) {
    for (int i = 0; i < s->n_entries; i++)
        if (strcmp(s->entries[i].name, name) == 0) return &s->entries[i];
    return NULL;
}

cloze_status nn_param_initialize(param *p, nn_init init, uint64_t seed, float std, int64_t zero_row,
                                 cloze_error *err) {
    int64_t n = p->w.t.rows * p->w.t.cols;
    float *values = mem_calloc((size_t)n, sizeof *values);
    if (!values) CLOZE_FAIL(err, MEMORY, "out of memory for %s", p->name);
    if (init == NN_INIT_ONE)
        for (int64_t i = 0; i < n; i++) values[i] = 1.0f;
    if (init == NN_INIT_NORMAL) {
        rng r;
        rng_init(&r, rng_mix_string(seed, p->name));
        for (int64_t i = 0; i < n; i++) values[i] = std * (float)rng_normal(&r);
        if (zero_row >= 0 && zero_row < p->w.t.rows)
            memset(values + zero_row * p->w.t.cols, 0, (size_t)p->w.t.cols * sizeof *values);
    }
    mem_free(p->owned);
    p->owned = values;
    p->w.t = tensor_of(values, DTYPE_F32, p->w.t.rows, p->w.t.cols);
    p->w.version++;
    return CLOZE_OK;
}
