/* The train command: data, training, evaluation, prediction, and the files of a run directory. */
#ifndef CLOZE_TRAIN_RUN_H
#define CLOZE_TRAIN_RUN_H

#include "train/forecast.h"
#include "train/options.h"

/* Runs what options ask for; a run that is gone on from fills in what they leave open. results gets
 * the content of all_results.json. */
cloze_status train_run(options *o, const cloze_callbacks *callbacks, buf *results,
                       cloze_error *err);

/* The eval command: metrics of a run on a labelled file, as {"eval_accuracy":..} with per-label
 * figures. */
cloze_status eval_run(options *o, const cloze_callbacks *callbacks, buf *results, cloze_error *err);

/* What `train` with these flags and a model directory would need; nothing is written. */
cloze_status forecast_run(const options *o, const cloze_callbacks *callbacks, const char *model_dir,
                          forecast *out, cloze_error *err);

#endif
