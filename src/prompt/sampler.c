/* k-shot sampling: one shuffle per label (or one in all), train examples first, dev ones next. */
#include "prompt/sampler.h"

#include <stdlib.h>

#include "base/rng.h"

static int compare_i32(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Draws from pool (n, shuffled in place) into the sample. */
static void draw(int32_t *pool, int64_t n, const sampler_options *opts, uint64_t key, sample *out) {
    rng r;
    rng_init(&r, key);
    rng_shuffle_i32(&r, pool, n);
    for (int64_t i = 0; i < opts->n_train; i++) out->train[out->n_train++] = pool[i];
    for (int64_t i = 0; i < opts->n_dev; i++) out->dev[out->n_dev++] = pool[opts->n_train + i];
}

static cloze_status check_enough(const sampler_options *opts, int64_t have, const char *label,
                                 const char *path, cloze_error *err) {
    if (opts->n_train + opts->n_dev <= have) return CLOZE_OK;
    if (!label)
        CLOZE_FAIL(err, DATA, "%s: %lld train and %lld dev examples are wanted, but there are %lld",
                   path, (long long)opts->n_train, (long long)opts->n_dev, (long long)have);
    CLOZE_FAIL(err, DATA,
               "%s: %lld train and %lld dev examples of each label are wanted, but label "
               "\"%.200s\" has %lld",
               path, (long long)opts->n_train, (long long)opts->n_dev, label, (long long)have);
}

static cloze_status draw_total(const dataset *data, const sampler_options *opts, int32_t *pool,
                               sample *out, cloze_error *err) {
    CLOZE_TRY(check_enough(opts, data->n, NULL, data->path, err));
    for (int64_t i = 0; i < data->n; i++) pool[i] = (int32_t)i;
    draw(pool, data->n, opts, rng_mix_string(opts->seed, "sampler"), out);
    return CLOZE_OK;
}

/* A label's draw depends on its name and its own examples, not on the other labels. */
static cloze_status draw_per_label(const dataset *data, const label_set *labels,
                                   const sampler_options *opts, int32_t *pool, sample *out,
                                   cloze_error *err) {
    for (int32_t l = 0; l < labels->n; l++) {
        const char *name = labels->entries[l].name;
        int64_t n = 0;
        for (int64_t i = 0; i < data->n; i++)
            if (data->examples[i].label == l) pool[n++] = (int32_t)i;
        CLOZE_TRY(check_enough(opts, n, name, data->path, err));
        draw(pool, n, opts, rng_mix_string(rng_mix_string(opts->seed, "sampler"), name), out);
    }
    return CLOZE_OK;
}

cloze_status sampler_draw(const dataset *data, const label_set *labels, const sampler_options *opts,
                          sample *out, cloze_error *err) {
    int64_t groups = opts->total ? 1 : labels->n;
    *out = (sample){0};
    if (opts->n_train < 0 || opts->n_dev < 0)
        CLOZE_FAIL(err, USAGE, "a sample cannot have fewer than 0 examples");
    if (opts->n_train > data->n || opts->n_dev > data->n)
        return check_enough(opts, data->n, NULL, data->path, err);
    int32_t *pool;
    MEM_NEW(err, pool, data->n);
    out->train = mem_calloc((size_t)(groups * opts->n_train), sizeof *out->train);
    out->dev = mem_calloc((size_t)(groups * opts->n_dev), sizeof *out->dev);
    cloze_status status = out->train && out->dev
                              ? CLOZE_OK
                              : error_set(err, CLOZE_ERR_MEMORY, "out of memory (sample)");
    if (status == CLOZE_OK)
        status = opts->total ? draw_total(data, opts, pool, out, err)
                             : draw_per_label(data, labels, opts, pool, out, err);
    mem_free(pool);
    if (status != CLOZE_OK) {
        sample_deinit(out);
        return status;
    }
    qsort(out->train, (size_t)out->n_train, sizeof *out->train, compare_i32);
    qsort(out->dev, (size_t)out->n_dev, sizeof *out->dev, compare_i32);
    return CLOZE_OK;
}

void sample_deinit(sample *s) {
    mem_free(s->train);
    mem_free(s->dev);
    *s = (sample){0};
}
