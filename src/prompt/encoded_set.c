/*
 * Encoding of many examples on all cores: each thread encodes one run of neighbouring examples into
 * its own arrays, and the arrays are joined in order, so that the result does not depend on the
 * number of threads.
 */
#include <omp.h>
#include <string.h>

#include "prompt/batch.h"
#include "prompt/grow.h"

#define EXAMPLES_PER_THREAD 8 /* fewer are not worth waking a thread for */

/* What one thread makes of examples [begin, end). */
typedef struct encoded_run {
    int64_t begin, end;
    int32_t *tokens[4]; /* (n_tokens) input_ids, token_type_ids, position_ids, soft_token_ids */
    int64_t token_cap[4];
    int64_t n_tokens;
    int32_t *masks; /* (n_masks) */
    int64_t n_masks, mask_cap;
    int32_t *lengths; /* (2 * (end-begin)) tokens and masks of each example */
    int64_t n_cut_examples, n_cut_tokens;
    int32_t longest;
    cloze_status status;
    cloze_error error;
} encoded_run;

static cloze_status run_append(encoded_run *run, const encoded_example *e, int64_t i,
                               cloze_error *err) {
    const int32_t *arrays[4] = {e->input_ids, e->token_type_ids, e->position_ids,
                                e->soft_token_ids};
    for (int a = 0; a < 4; a++) {
        GROW_TO(err, run->tokens[a], run->token_cap[a], run->n_tokens + e->n);
        if (e->n > 0)
            memcpy(run->tokens[a] + run->n_tokens, arrays[a], (size_t)e->n * sizeof(int32_t));
    }
    GROW_TO(err, run->masks, run->mask_cap, run->n_masks + e->n_masks);
    if (e->n_masks > 0)
        memcpy(run->masks + run->n_masks, e->masked_positions,
               (size_t)e->n_masks * sizeof(int32_t));
    run->n_tokens += e->n;
    run->n_masks += e->n_masks;
    run->lengths[2 * i] = e->n;
    run->lengths[2 * i + 1] = e->n_masks;
    run->n_cut_examples += e->n_cut > 0;
    run->n_cut_tokens += e->n_cut;
    if (e->n > run->longest) run->longest = e->n;
    return CLOZE_OK;
}

static cloze_status run_encode(encoded_run *run, const input_encoder *encoder,
                               const example *examples, encoded_example *e, cloze_error *err) {
    MEM_NEW(err, run->lengths, 2 * (run->end - run->begin));
    for (int64_t i = run->begin; i < run->end; i++) {
        CLOZE_TRY(input_encoder_encode(encoder, &examples[i], e, err));
        CLOZE_TRY(run_append(run, e, i - run->begin, err));
    }
    return CLOZE_OK;
}

static void run_deinit(encoded_run *run) {
    for (int a = 0; a < 4; a++) mem_free(run->tokens[a]);
    mem_free(run->masks);
    mem_free(run->lengths);
}

cloze_status encoded_set_reserve(encoded_set *set, int64_t n, int64_t n_tokens, int64_t n_masks,
                                 cloze_error *err) {
    MEM_NEW(err, set->offsets, n + 1);
    MEM_NEW(err, set->mask_offsets, n + 1);
    MEM_NEW(err, set->input_ids, n_tokens);
    MEM_NEW(err, set->token_type_ids, n_tokens);
    MEM_NEW(err, set->position_ids, n_tokens);
    MEM_NEW(err, set->soft_token_ids, n_tokens);
    MEM_NEW(err, set->masked_positions, n_masks);
    MEM_NEW(err, set->labels, n);
    return CLOZE_OK;
}

static void set_append_run(encoded_set *set, const encoded_run *run, const example *examples) {
    int32_t *arrays[4] = {set->input_ids, set->token_type_ids, set->position_ids,
                          set->soft_token_ids};
    int64_t at = set->offsets[run->begin], mask_at = set->mask_offsets[run->begin];
    for (int a = 0; a < 4 && run->n_tokens > 0; a++)
        memcpy(arrays[a] + at, run->tokens[a], (size_t)run->n_tokens * sizeof(int32_t));
    if (run->n_masks > 0)
        memcpy(set->masked_positions + mask_at, run->masks, (size_t)run->n_masks * sizeof(int32_t));
    for (int64_t i = run->begin; i < run->end; i++) {
        set->offsets[i + 1] = set->offsets[i] + run->lengths[2 * (i - run->begin)];
        set->mask_offsets[i + 1] = set->mask_offsets[i] + run->lengths[2 * (i - run->begin) + 1];
        set->labels[i] = examples[i].label;
    }
    set->n = run->end;
    set->n_cut_examples += run->n_cut_examples;
    set->n_cut_tokens += run->n_cut_tokens;
    if (run->longest > set->longest) set->longest = run->longest;
}

static cloze_status join_runs(const encoded_run *runs, int n_runs, const example *examples,
                              int64_t n, encoded_set *out, cloze_error *err) {
    int64_t n_tokens = 0, n_masks = 0;
    for (int t = 0; t < n_runs; t++) {
        if (runs[t].status != CLOZE_OK) { /* the first run in order: its error is the first one */
            if (err) *err = runs[t].error;
            return runs[t].status;
        }
        n_tokens += runs[t].n_tokens;
        n_masks += runs[t].n_masks;
    }
    CLOZE_TRY(encoded_set_reserve(out, n, n_tokens, n_masks, err));
    for (int t = 0; t < n_runs; t++) set_append_run(out, &runs[t], examples);
    return CLOZE_OK;
}

cloze_status encoded_set_build(const input_encoder *encoder, const example *examples, int64_t n,
                               encoded_set *out, cloze_error *err) {
    int64_t n_runs = n / EXAMPLES_PER_THREAD, n_threads = omp_get_max_threads();
    encoded_run *runs;
    *out = (encoded_set){0};
    if (n_runs > n_threads) n_runs = n_threads;
    if (n_runs < 1) n_runs = 1;
    MEM_NEW(err, runs, n_runs);
#pragma omp parallel for num_threads((int)n_runs) schedule(static, 1)
    for (int64_t t = 0; t < n_runs; t++) {
        encoded_example e = {0};
        runs[t].begin = n * t / n_runs;
        runs[t].end = n * (t + 1) / n_runs;
        runs[t].status = run_encode(&runs[t], encoder, examples, &e, &runs[t].error);
        encoded_example_deinit(&e);
    }
    cloze_status status = join_runs(runs, (int)n_runs, examples, n, out, err);
    for (int64_t t = 0; t < n_runs; t++) run_deinit(&runs[t]);
    mem_free(runs);
    if (status != CLOZE_OK) encoded_set_deinit(out);
    return status;
}

void encoded_set_deinit(encoded_set *set) {
    mem_free(set->offsets);
    mem_free(set->mask_offsets);
    mem_free(set->input_ids);
    mem_free(set->token_type_ids);
    mem_free(set->position_ids);
    mem_free(set->soft_token_ids);
    mem_free(set->masked_positions);
    mem_free(set->labels);
    *set = (encoded_set){0};
}
