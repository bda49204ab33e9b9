/*
 * What a training run will need, told before it begins: memory by parts, seconds, disk.
 *
 * Tokens, parameters and steps are counted. Activations and times are measured on real steps of the
 * same data with the model's first layers only (four of them, and one), and extended to all layers:
 * both grow by the same amount with each layer.
 */
#ifndef CLOZE_TRAIN_FORECAST_H
#define CLOZE_TRAIN_FORECAST_H

#include "train/train_step.h"

typedef struct forecast_source {
    const options *o;
    const cloze_callbacks *callbacks;
    const char *model_dir;
    classifier_options classifier; /* as the run would have it */
    const label_set *labels;
    const dataset *train; /* labels assigned */
    const dataset *dev;   /* NULL: nothing is evaluated */
    const float *class_weights;
} forecast_source;

typedef struct forecast {
    int64_t n_train, n_dev;
    int64_t batch_tokens, largest_batch_tokens; /* of a micro-batch: mean, most */
    int64_t n_parameters, n_trainable;
    int64_t max_steps, n_evaluations;
    double num_train_epochs;
    /* bytes at the peak; casts: copies of weights for products, in bf16 or in blocks */
    int64_t weights, gradients, moments, activations, casts, rest, peak;
    int64_t available;                                        /* now; -1 = not known */
    double seconds_per_step, seconds_per_evaluation, seconds; /* seconds: of the whole run */
    int64_t n_checkpoints, checkpoint_bytes;                  /* kept on the disk at the end */
} forecast;

cloze_status forecast_make(const forecast_source *source, forecast *out, cloze_error *err);

/* Bytes that training takes beyond the weights, counted without a probe: gradients and moments of
 * the block, and activations of batches of at most so many tokens. */
int64_t forecast_count(const param_block *block, const model_config *config, const options *o,
                       int64_t largest_batch_tokens);
/* Tokens of all views of the largest micro-batch among the first epochs. */
cloze_status forecast_largest_batch(const options *o, const encoded_views *encoded,
                                    int64_t n_batches, int64_t *tokens, cloze_error *err);

#endif
