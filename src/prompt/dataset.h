/*
 * Labelled and unlabelled data: `text<TAB>label` lines, one text a line, JSON lines and lists, and
 * CSV with a header (RFC 4180: quotes, embedded newlines). The content decides; the file name is a
 * hint.
 *
 * All of it is UTF-8, checked, with or without a byte order mark, LF or CRLF. Errors are
 * CLOZE_ERR_DATA and name file:line:column (columns in code points, from 1).
 */
#ifndef CLOZE_PROMPT_DATASET_H
#define CLOZE_PROMPT_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "prompt/labels.h"

typedef enum dataset_format {
    DATASET_AUTO,       /* by content */
    DATASET_LINES,      /* one text a line, or text TAB label */
    DATASET_TABLE,      /* tab-separated with a header line; only when columns are named */
    DATASET_JSONL,      /* one JSON object a line */
    DATASET_CSV,        /* commas, quotes, a header */
    DATASET_JSON_LIST,  /* one JSON list of objects, in any layout */
    DATASET_LABEL_TEXT, /* label, a blank, text; never guessed */
    DATASET_PAIRS       /* text TAB text_b, or text TAB text_b TAB label */
} dataset_format;
/* The names of --data_format: auto, lines, tsv, jsonl, csv, json, label_text,
 * pairs. */
bool dataset_format_from_name(const char *name, dataset_format *out);

typedef enum dataset_labelling {
    DATASET_LABELS_REQUIRED, /* train, dev: every example has a label */
    DATASET_LABELS_AUTO,     /* test: all of them or none */
    DATASET_LABELS_NONE      /* data.txt, predict: a tab is text, label fields are not looked at */
} dataset_labelling;

typedef struct dataset_options {
    dataset_format format;
    dataset_labelling labelling;
    const char *text_column, *text_b_column, *label_column; /* NULL = guessed from common names */
    /* Tried before the common names where records have fields (what a run was trained on); may be
     * NULL. */
    const char *usual_text_column, *usual_text_b_column;
    bool pair_lines; /* what would be DATASET_LINES is DATASET_PAIRS */
} dataset_options;

typedef struct example {
    const char *text;       /* NUL-terminated, text_len bytes; "" for a blank line of a stream */
    const char *text_b;     /* NULL = there is none */
    const char *label_name; /* as written in the file (trimmed), NULL = unlabelled */
    size_t text_len, text_b_len;
    int32_t label;  /* id in the label set, -1 = unlabelled or not assigned yet */
    int64_t line;   /* first line of the example in its file, from 1 */
    int32_t column; /* where it begins, in formats where examples can share a line; else 0 */
} example;

/* Zeroed storage is a valid empty data set. */
typedef struct dataset {
    example *examples; /* (n) in file order; strings live in memory */
    int64_t n;
    bool labelled; /* every example has label_name */
    bool has_text_b;
    int64_t blank_lines;                     /* skipped */
    dataset_format format;                   /* what it was */
    const char *text_column, *text_b_column; /* the fields that were read; NULL in DATASET_LINES */
    const char *path;                        /* as given */
    arena memory;
} dataset;

/* labels may be NULL (then label is -1 until dataset_assign_labels). An unknown label is an error
 * that names the nearest known one. A file without examples is an error. opts NULL = zeroed. */
cloze_status dataset_read(const char *path, const dataset_options *opts, const label_set *labels,
                          dataset *out, cloze_error *err);
/* The same from memory; `what` names the source in errors and stands for the file name. */
cloze_status dataset_parse(const char *text, size_t n, const char *what,
                           const dataset_options *opts, const label_set *labels, dataset *out,
                           cloze_error *err);
cloze_status dataset_assign_labels(dataset *data, const label_set *labels, cloze_error *err);
/* The labels that occur in data, each with its default word. */
cloze_status dataset_collect_labels(const dataset *data, label_set *out, cloze_error *err);
/* counts (labels->n): examples of each label. Appends one line to notes (may be NULL) for the
 * labels without any example and one for skipped blank lines. */
void dataset_count_labels(const dataset *data, const label_set *labels, int64_t *counts,
                          buf *notes);
void dataset_deinit(dataset *data);

/* Reading of any number of lines in constant memory, for prediction: exactly one example for each
 * line (each record of CSV), blank ones included. path "-" is standard input. */
typedef struct dataset_stream dataset_stream;
cloze_status dataset_stream_open(const char *path, const dataset_options *opts,
                                 dataset_stream **out, cloze_error *err);
/* *out is borrowed until the next call. *done = true at the end of the file, *out untouched. */
cloze_status dataset_stream_next(dataset_stream *stream, example *out, bool *done,
                                 cloze_error *err);
/* As line_reader_ready: whether there is input at once, waiting up to timeout_ms. */
bool dataset_stream_ready(const dataset_stream *stream, int timeout_ms);
void dataset_stream_close(dataset_stream *stream); /* NULL is accepted */

/* The files of a data directory: train, dev, test, data (unlabelled), label, each with .txt, .tsv,
 * .jsonl, .json or .csv (label: .txt or .json); NULL where there is none. */
typedef struct data_dir {
    char *train, *dev, *test, *unlabelled, *label;
} data_dir;
/* CLOZE_ERR_DATA when dir is no directory or holds none of the files. */
cloze_status data_dir_find(const char *dir, data_dir *out, cloze_error *err);
void data_dir_deinit(data_dir *d);

#endif
