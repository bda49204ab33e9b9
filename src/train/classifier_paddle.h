/*
 * Run directories of PaddleNLP's few-shot scripts, as they are:
 *
 *   2.4.3 and later   template_config.json (a list of parts; a second line with the class),
 *                     verbalizer_config.json ({label: [words]}), model_state.pdparams
 *   2.3.5 to 2.4.0    template.json (a list of parts), verbalizer.json ([labels, token ids]),
 *                     model_state.pdparams
 *
 * The weights of the whole prompt model are in model_state.pdparams. There is no configuration: it
 * comes from the directory where somebody put one, from plm/ (--save_plm), or from the pre-trained
 * model that the run started from.
 */
#ifndef CLOZE_TRAIN_CLASSIFIER_PADDLE_H
#define CLOZE_TRAIN_CLASSIFIER_PADDLE_H

#include "train/classifier.h"

bool classifier_paddle_is_run(const char *dir);
/* Fills c, whose options say what the caller wants. Soft template parts are ERR_MODEL. */
cloze_status classifier_paddle_open(classifier *c, const char *dir, cloze_error *err);

#endif
