/* The BERT family: one implementation, three naming schemes. */
#ifndef CLOZE_MODEL_BERT_H
#define CLOZE_MODEL_BERT_H

#include "model/model.h"

extern const model_def model_def_bert;    /* bert */
extern const model_def model_def_roberta; /* roberta, xlm-roberta, camembert */
extern const model_def model_def_ernie;   /* ernie 1.0 to 3.0: task type embeddings */

#endif
