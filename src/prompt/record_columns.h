/* The usual names of text, pair and label columns, and the choice among a file's own. */
#ifndef CLOZE_PROMPT_RECORD_COLUMNS_H
#define CLOZE_PROMPT_RECORD_COLUMNS_H

#include "prompt/dataset.h"

typedef struct column_choice {
    int32_t text, text_b, label;
} column_choice; /* -1 = none */

/* True for names such as sentence or premise; upper and lower case are the same. */
bool column_is_text(const char *name);
bool column_is_pair(const char *name);
bool column_is_label(const char *name);

/* Chooses among names[0..n) by options, else by common names. values (n, may be NULL: the first
 * record) and labels (may be NULL) decide between two label columns: the one whose value is a known
 * label. `what` and `line` are for the error when there is no text column, or no label column where
 * one is required or named. */
cloze_status columns_choose(const char *const names[], const char *const values[], int32_t n,
                            const dataset_options *options, const label_set *labels,
                            const char *what, int64_t line, column_choice *out, cloze_error *err);

#endif
