/*
 * The pretrain command: masked-LM training on raw text, from scratch or going on from a model
 * (domain-adaptive). BERT's objective without next-sentence prediction, dynamic whole-word masking.
 */
#ifndef CLOZE_TRAIN_PRETRAIN_H
#define CLOZE_TRAIN_PRETRAIN_H

#include "train/options.h"

/* Writes a Hugging Face model directory into options->output_dir; results gets
 * pretrain_results.json. */
cloze_status pretrain_run(options *o, const cloze_callbacks *callbacks, buf *results,
                          cloze_error *err);

#endif
