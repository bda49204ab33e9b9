/* Batch plans and packed batches. See batch.h. */
#include "prompt/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

static int32_t example_len(const encoded_set *set, int64_t i) {
    return (int32_t)(set->offsets[i + 1] - set->offsets[i]);
}

/* ---- plans ---- */

static cloze_status plan_init(const encoded_set *set, batch_plan *out, cloze_error *err) {
    *out = (batch_plan){.n = set->n};
    if (set->n > INT32_MAX) CLOZE_FAIL(err, DATA, "more than %d examples", INT32_MAX);
    MEM_NEW(err, out->order, set->n);
    out->starts = mem_calloc((size_t)set->n + 1, sizeof *out->starts);
    if (!out->starts) {
        batch_plan_deinit(out);
        CLOZE_FAIL(err, MEMORY, "out of memory (%lld examples)", (long long)set->n);
    }
    for (int64_t i = 0; i < set->n; i++) out->order[i] = (int32_t)i;
    return CLOZE_OK;
}

/* Cuts the order into batches, each as large as the options allow. */
static void cut_batches(const encoded_set *set, const batch_options *opts, batch_plan *plan) {
    int64_t begin = 0, tokens = 0;
    for (int64_t i = 0; i < plan->n; i++) {
        int64_t length = example_len(set, plan->order[i]);
        bool full = opts->batch_size > 0 && i - begin >= opts->batch_size;
        bool over = opts->token_budget > 0 && tokens + length > opts->token_budget;
        if (i > begin && (full || over)) {
            plan->starts[++plan->n_batches] = i;
            begin = i;
            tokens = 0;
        }
        tokens += length;
    }
    bool dropped = opts->drop_last && opts->batch_size > 0 && plan->n - begin < opts->batch_size;
    if (plan->n > begin && !dropped) plan->starts[++plan->n_batches] = plan->n;
}

cloze_status batch_plan_sequential(const encoded_set *set, const batch_options *opts,
                                   batch_plan *out, cloze_error *err) {
    CLOZE_TRY(plan_init(set, out, err));
    cut_batches(set, opts, out);
    return CLOZE_OK;
}

cloze_status batch_plan_shuffled(const encoded_set *set, const batch_options *opts, uint64_t seed,
                                 int64_t epoch, batch_plan *out, cloze_error *err) {
    rng r;
    CLOZE_TRY(plan_init(set, out, err));
    rng_init(&r, rng_mix(rng_mix_string(seed, "data order"), (uint64_t)epoch));
    rng_shuffle_i32(&r, out->order, out->n);
    cut_batches(set, opts, out);
    return CLOZE_OK;
}

typedef struct sized {
    int32_t length, index;
} sized;

static int compare_sized(const void *a, const void *b) {
    const sized *x = a, *y = b;
    if (x->length != y->length) return x->length < y->length ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

cloze_status batch_plan_by_length(const encoded_set *set, const batch_options *opts,
                                  batch_plan *out, cloze_error *err) {
    CLOZE_TRY(plan_init(set, out, err));
    sized *items = mem_calloc((size_t)set->n, sizeof *items);
    if (!items) {
        batch_plan_deinit(out);
        CLOZE_FAIL(err, MEMORY, "out of memory (%lld examples)", (long long)set->n);
    }
    for (int64_t i = 0; i < set->n; i++) items[i] = (sized){example_len(set, i), (int32_t)i};
    qsort(items, (size_t)set->n, sizeof *items, compare_sized);
    for (int64_t i = 0; i < set->n; i++) out->order[i] = items[i].index;
    mem_free(items);
    cut_batches(set, opts, out);
    return CLOZE_OK;
}

void batch_plan_deinit(batch_plan *plan) {
    mem_free(plan->order);
    mem_free(plan->starts);
    *plan = (batch_plan){0};
}

/* ---- packed batches ---- */

static cloze_status resize(int32_t **array, int64_t count, cloze_error *err) {
    mem_free(*array);
    *array = mem_alloc((size_t)count * sizeof **array);
    if (!*array)
        CLOZE_FAIL(err, MEMORY, "out of memory (%lld tokens in a batch)", (long long)count);
    return CLOZE_OK;
}

/* Room for B examples, N tokens, M masks; the old contents are lost. */
static cloze_status batch_reserve(packed_batch *b, int64_t n_examples, int64_t n_tokens,
                                  int64_t n_masks, cloze_error *err) {
    if (n_tokens > INT32_MAX / 2)
        CLOZE_FAIL(err, DATA, "a batch of %lld tokens is too large", (long long)n_tokens);
    b->n_examples = b->n_tokens = b->n_masks = b->longest = 0;
    if (n_examples > b->example_cap || !b->offsets) {
        int32_t cap = (int32_t)(n_examples + n_examples / 4 + 8);
        b->example_cap = 0;
        CLOZE_TRY(resize(&b->offsets, (int64_t)cap + 1, err));
        CLOZE_TRY(resize(&b->mask_offsets, (int64_t)cap + 1, err));
        CLOZE_TRY(resize(&b->labels, cap, err));
        CLOZE_TRY(resize(&b->example_ids, cap, err));
        b->example_cap = cap;
    }
    if (n_tokens > b->token_cap) {
        int32_t cap = (int32_t)(n_tokens + n_tokens / 4 + 64);
        b->token_cap = 0;
        CLOZE_TRY(resize(&b->input_ids, cap, err));
        CLOZE_TRY(resize(&b->token_type_ids, cap, err));
        CLOZE_TRY(resize(&b->position_ids, cap, err));
        CLOZE_TRY(resize(&b->soft_token_ids, cap, err));
        b->token_cap = cap;
    }
    if (n_masks > b->mask_cap) {
        int32_t cap = (int32_t)(n_masks + n_masks / 4 + 8);
        b->mask_cap = 0;
        CLOZE_TRY(resize(&b->mask_rows, cap, err));
        b->mask_cap = cap;
    }
    b->offsets[0] = b->mask_offsets[0] = 0;
    return CLOZE_OK;
}

/* Arrays of one example, wherever they are. */
typedef struct example_view {
    const int32_t *input_ids, *token_type_ids, *position_ids, *soft_token_ids, *masked_positions;
    int32_t n, n_masks;
} example_view;

static void append_example(packed_batch *b, const example_view *v, int32_t label,
                           int32_t example_id) {
    size_t bytes = (size_t)v->n * sizeof(int32_t);
    int32_t row = b->n_tokens, i = b->n_examples;
    if (v->n > 0) {
        memcpy(b->input_ids + row, v->input_ids, bytes);
        memcpy(b->token_type_ids + row, v->token_type_ids, bytes);
        memcpy(b->position_ids + row, v->position_ids, bytes);
        memcpy(b->soft_token_ids + row, v->soft_token_ids, bytes);
    }
    for (int32_t m = 0; m < v->n_masks; m++)
        b->mask_rows[b->n_masks++] = row + v->masked_positions[m];
    b->labels[i] = label;
    b->example_ids[i] = example_id;
    b->n_tokens += v->n;
    b->n_examples++;
    b->offsets[i + 1] = b->n_tokens;
    b->mask_offsets[i + 1] = b->n_masks;
    if (v->n > b->longest) b->longest = v->n;
}

cloze_status packed_batch_fill(packed_batch *batch, const encoded_set *set, const batch_plan *plan,
                               int64_t i_batch, cloze_error *err) {
    int64_t begin = plan->starts[i_batch], end = plan->starts[i_batch + 1], n_tokens = 0,
            n_masks = 0;
    for (int64_t k = begin; k < end; k++) {
        int32_t i = plan->order[k];
        n_tokens += example_len(set, i);
        n_masks += set->mask_offsets[i + 1] - set->mask_offsets[i];
    }
    CLOZE_TRY(batch_reserve(batch, end - begin, n_tokens, n_masks, err));
    for (int64_t k = begin; k < end; k++) {
        int32_t i = plan->order[k];
        int64_t at = set->offsets[i], mask_at = set->mask_offsets[i];
        example_view view = {set->input_ids + at,
                             set->token_type_ids + at,
                             set->position_ids + at,
                             set->soft_token_ids + at,
                             set->masked_positions + mask_at,
                             example_len(set, i),
                             (int32_t)(set->mask_offsets[i + 1] - mask_at)};
        append_example(batch, &view, set->labels[i], i);
    }
    return CLOZE_OK;
}

cloze_status packed_batch_from_examples(packed_batch *batch,
                                        const encoded_example *const examples[],
                                        const int32_t *labels, int32_t n, cloze_error *err) {
    int64_t n_tokens = 0, n_masks = 0;
    for (int32_t i = 0; i < n; i++) {
        n_tokens += examples[i]->n;
        n_masks += examples[i]->n_masks;
    }
    CLOZE_TRY(batch_reserve(batch, n, n_tokens, n_masks, err));
    for (int32_t i = 0; i < n; i++) {
        const encoded_example *e = examples[i];
        example_view view = {e->input_ids,      e->token_type_ids,   e->position_ids,
                             e->soft_token_ids, e->masked_positions, e->n,
                             e->n_masks};
        append_example(batch, &view, labels ? labels[i] : -1, i);
    }
    return CLOZE_OK;
}

void packed_batch_deinit(packed_batch *batch) {
    mem_free(batch->offsets);
    mem_free(batch->mask_offsets);
    mem_free(batch->input_ids);
    mem_free(batch->token_type_ids);
    mem_free(batch->position_ids);
    mem_free(batch->soft_token_ids);
    mem_free(batch->mask_rows);
    mem_free(batch->labels);
    mem_free(batch->example_ids);
    *batch = (packed_batch){0};
}
