/*
 * Labels and their words: label.txt (`label` or `label==word`), verbalizer_config.json
 * ({label: [words]}), one object a line ({"label": "101", "label_zh": "文化"}: FewCLUE's
 * label_index2en2zh.json), or the labels found in a training set.
 *
 * Label ids are ranks in code-point order (which is byte order in UTF-8), as PaddleNLP numbers
 * them, whatever the order of the file. A repeated label adds words, in file order. The default
 * word of a label is what follows its last "##" (a path of a hierarchy), else the label itself.
 */
#ifndef CLOZE_PROMPT_LABELS_H
#define CLOZE_PROMPT_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

typedef struct label_entry {
    const char *name;   /* NUL-terminated */
    const char **words; /* (n_words) NUL-terminated, at least one */
    int32_t n_words;
} label_entry;

/* Zeroed storage is a valid empty set. Immutable once built: any number of threads. */
typedef struct label_set {
    label_entry *entries; /* (n) in id order */
    int32_t n;
    hash_map index; /* name -> id */
    arena memory;
} label_set;

/* A file of any of the forms, recognised by content. Errors are CLOZE_ERR_DATA and name file:line.
 * notes (may be NULL) gets one line per harmless oddity: a repeated label==word, a word that two
 * labels share. */
cloze_status label_set_read(const char *path, label_set *out, buf *notes, cloze_error *err);
cloze_status label_set_parse(const char *text, size_t n, const char *what, label_set *out,
                             buf *notes, cloze_error *err);
/* One form from memory; `what` names the source. code: DATA, or MODEL for a saved run. */
cloze_status label_set_parse_text(const char *text, size_t n, const char *what, label_set *out,
                                  buf *notes, cloze_error *err);
cloze_status label_set_parse_json(const char *text, size_t n, const char *what, cloze_status code,
                                  label_set *out, buf *notes, cloze_error *err);
/* From names (copied; repeats are fine), each with its default word. */
cloze_status label_set_from_names(const char *const names[], size_t n, label_set *out,
                                  cloze_error *err);
void label_set_deinit(label_set *labels);

int32_t label_set_find(const label_set *labels, const char *name, size_t n); /* -1 = unknown */
/* The known label that `name` was probably meant to be, or NULL when none is near. Borrowed. */
const char *label_set_nearest(const label_set *labels, const char *name, size_t n);
/* verbalizer_config.json: one line {"label": ["word", ...], ...} in id order. */
void label_set_write_json(const label_set *labels, buf *out);

#endif
