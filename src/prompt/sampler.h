/* k-shot sampling: a reproducible choice of few examples, a function of (data order, seed) alone.
 */
#ifndef CLOZE_PROMPT_SAMPLER_H
#define CLOZE_PROMPT_SAMPLER_H

#include "base/error.h"
#include "prompt/dataset.h"

typedef struct sampler_options {
    uint64_t seed;
    int64_t n_train; /* examples of each label, or in all (total) */
    int64_t n_dev;   /* the same for a dev set disjoint from the train set; 0 = none */
    bool total;      /* counts are over all labels */
} sampler_options;

/* Indices into data->examples, rising; end with sample_deinit. */
typedef struct sample {
    int32_t *train, *dev; /* (n_train), (n_dev) */
    int64_t n_train, n_dev;
} sample;

/* The train choice does not depend on n_dev. A label with too few examples is CLOZE_ERR_DATA with
 * the numbers. data must have its labels assigned. */
cloze_status sampler_draw(const dataset *data, const label_set *labels, const sampler_options *opts,
                          sample *out, cloze_error *err);
void sample_deinit(sample *s);

#endif
