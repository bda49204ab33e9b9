/*
 * Records of a data file in any of its formats: which format it is, which fields are read, and the
 * raw text, pair and label of one record after another. No labels are looked up here.
 */
#ifndef CLOZE_PROMPT_RECORD_READER_H
#define CLOZE_PROMPT_RECORD_READER_H

#include "base/json.h"

#include "base/buf.h"
#include "prompt/dataset.h"
#include "prompt/line_reader.h"

#define RECORD_MAX_FIELDS 4096

/* One record; strings are borrowed until the next one is read and are not NUL-terminated. */
typedef struct record {
    const char *text, *text_b, *label; /* NULL = the record has none */
    size_t text_len, text_b_len, label_len;
    int64_t line;   /* the first one of the record */
    int32_t column; /* where it begins there, where records can share a line; else 0 */
    bool blank;     /* an empty line, or an empty text in unlabelled data */
} record;

typedef struct record_reader {
    line_reader lines;
    dataset_options options;
    dataset_format format;   /* never DATASET_AUTO once open */
    const label_set *labels; /* may be NULL; helps to choose among label columns */
    bool columns_known;
    char *text_column, *text_b_column, *label_column; /* what is read; NULL = none */
    int32_t text_index, text_b_index, label_index;    /* CSV, table: -1 = none */
    buf fields;         /* bytes of all fields of a row, each with a NUL behind */
    size_t *field_ends; /* (n_fields) offset of each field's NUL in fields */
    int64_t n_fields, field_cap, n_header;
    cJSON *object;  /* JSON: the current one */
    buf numbers[3]; /* JSON: text, pair and label written as numbers */
    enum { LIST_NOT_BEGUN, LIST_BEGUN, LIST_ENDED } list_state;
    const char *row; /* JSON list: the current line, borrowed; an object of it stands in fields */
    size_t row_n, row_at;
    size_t row_counted, row_columns; /* bytes of the line whose code points were counted, and these */
} record_reader;

#define RECORD_PLACE_MAX 600
/* "file:line", with ":column" when there is one: what errors about a record begin with. */
const char *record_place(char out[RECORD_PLACE_MAX], const char *name, int64_t line,
                         int32_t column);

/* path NULL = text[0..n) named `name`. */
cloze_status record_reader_open(record_reader *r, const char *path, const char *text, size_t n,
                                const char *name, const dataset_options *options,
                                const label_set *labels, cloze_error *err);
/* *done at the end of the source. */
cloze_status record_reader_next(record_reader *r, record *out, bool *done, cloze_error *err);
void record_reader_close(record_reader *r); /* zeroed storage is accepted */

#endif
