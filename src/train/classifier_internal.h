/* What classifier.c and classifier_io.c share. */
#ifndef CLOZE_TRAIN_CLASSIFIER_INTERNAL_H
#define CLOZE_TRAIN_CLASSIFIER_INTERNAL_H

#include "ckpt/checkpoint.h"
#include "prompt/verbalizer_words.h"
#include "train/classifier.h"

struct classifier {
    classifier_options options; /* strings but the text fields are dropped after create */
    char *text_field, *text_b_field;
    model *model;
    tokenizer *tokenizer;
    label_set labels;
    template_t tmpl;          /* prompt */
    verbalizer_words words;   /* prompt */
    verbalizer *verbalizer;   /* prompt */
    input_encoder **encoders; /* (n_views) */
    int32_t n_views;
    bool trained; /* weights may have changed since they were read */
};

cloze_status classifier_set_fields(classifier *c, const char *text_field, const char *text_b_field,
                                   cloze_error *err);
cloze_status classifier_check_length(classifier *c, cloze_error *err);
cloze_status classifier_make_verbalizer(classifier *c, cloze_error *err);
cloze_status classifier_make_encoders(classifier *c, cloze_error *err);
/* The soft verbalizer's weight, and its bias where there is one, from an open checkpoint. */
cloze_status classifier_read_verbalizer(classifier *c, const ckpt *file, const char *what,
                                        cloze_error *err);
/* What is wrong with a saved run is not the command line's or the data's fault. */
cloze_status classifier_blame_run(cloze_status status, const char *where, cloze_error *err);
const char **classifier_label_names(const label_set *labels); /* (n) borrowed names; mem_free */

#endif
