/* Records of CSV (RFC 4180) and of tab-separated tables: rows, and the header that names them. */
#include <string.h>

#include "base/utf8.h"
#include "prompt/grow.h"
#include "prompt/record_columns.h"
#include "prompt/record_formats.h"

/* ---- rows of CSV and of tab-separated tables ---- */

static const char *field_at(const record_reader *r, int64_t i) {
    return r->fields.data + (i > 0 ? r->field_ends[i - 1] + 1 : 0);
}

static size_t field_len(const record_reader *r, int64_t i) {
    return r->field_ends[i] - (i > 0 ? r->field_ends[i - 1] + 1 : 0);
}

static cloze_status end_field(record_reader *r, cloze_error *err) {
    if (r->n_fields >= RECORD_MAX_FIELDS)
        CLOZE_FAIL(err, DATA, "%s:%lld: more than %d columns", r->lines.name,
                   (long long)r->lines.line, RECORD_MAX_FIELDS);
    GROW_TO(err, r->field_ends, r->field_cap, r->n_fields + 1);
    r->field_ends[r->n_fields++] = r->fields.len;
    buf_putc(&r->fields, '\0');
    if (!buf_ok(&r->fields))
        CLOZE_FAIL(err, MEMORY, "%s:%lld: the record is too long", r->lines.name,
                   (long long)r->lines.line);
    return CLOZE_OK;
}

static void begin_row(record_reader *r) {
    buf_clear(&r->fields);
    r->n_fields = 0;
}

static cloze_status split_tabs(record_reader *r, const char *line, size_t n, cloze_error *err) {
    begin_row(r);
    for (;;) {
        const char *tab = memchr(line, '\t', n);
        size_t length = tab ? (size_t)(tab - line) : n;
        buf_append(&r->fields, line, length);
        CLOZE_TRY(end_field(r, err));
        if (!tab) return CLOZE_OK;
        line += length + 1;
        n -= length + 1;
    }
}

/* A quoted field from line[*at] on, just behind its opening quote; it may take further lines. */
static cloze_status read_quoted(record_reader *r, const char **line, size_t *n, size_t *at,
                                cloze_error *err) {
    int64_t opened_line = r->lines.line;
    size_t opened_column = utf8_count(*line, *at - 1) + 1;
    for (;;) {
        const char *from = *line + *at;
        const char *quote = memchr(from, '"', *n - *at);
        size_t length = quote ? (size_t)(quote - from) : *n - *at;
        buf_append(&r->fields, from, length);
        *at += length;
        if (!quote) {
            buf_putc(&r->fields, '\n');
            CLOZE_TRY(line_reader_next(&r->lines, line, n, err));
            *at = 0;
            if (!*line)
                CLOZE_FAIL(err, DATA, "%s:%lld:%zu: the quote that opens here is never closed",
                           r->lines.name, (long long)opened_line, opened_column);
            if (r->fields.len > LINE_READER_MAX)
                CLOZE_FAIL(err, DATA,
                           "%s:%lld:%zu: the quoted field that begins here is longer than "
                           "%zu MB; is a quote missing?",
                           r->lines.name, (long long)opened_line, opened_column,
                           LINE_READER_MAX >> 20);
        } else if (*at + 1 < *n && quote[1] == '"') {
            buf_putc(&r->fields, '"');
            *at += 2;
        } else {
            *at += 1;
            return CLOZE_OK;
        }
    }
}

/* RFC 4180: quoted fields hold commas, doubled quotes and newlines. A quote inside an unquoted
 * field is text, as Python's csv reads it. */
static cloze_status split_csv(record_reader *r, const char *line, size_t n, cloze_error *err) {
    size_t at = 0;
    begin_row(r);
    for (;;) {
        if (at < n && line[at] == '"') {
            at++;
            CLOZE_TRY(read_quoted(r, &line, &n, &at, err));
            if (at < n && line[at] != ',')
                CLOZE_FAIL(err, DATA,
                           "%s:%lld:%zu: a comma is wanted after the closing quote; a quote "
                           "inside a quoted field is written twice",
                           r->lines.name, (long long)r->lines.line, utf8_count(line, at) + 1);
        } else {
            const char *comma = memchr(line + at, ',', n - at);
            size_t length = comma ? (size_t)(comma - (line + at)) : n - at;
            buf_append(&r->fields, line + at, length);
            at += length;
        }
        CLOZE_TRY(end_field(r, err));
        if (at >= n) return CLOZE_OK;
        at++; /* the comma */
    }
}

static cloze_status split_row(record_reader *r, const char *line, size_t n, cloze_error *err) {
    return r->format == DATASET_CSV ? split_csv(r, line, n, err) : split_tabs(r, line, n, err);
}

/* ---- the header ---- */

/* The first record of a table, without using it up, decides between two label columns: labels may
 * be codes in one and names in the other. */
static cloze_status peek_values(record_reader *r, const char **values, buf *keep,
                                cloze_error *err) {
    record_reader row = {.lines = {.name = r->lines.name, .line = r->lines.line},
                         .format = r->format};
    const char *line = NULL;
    size_t n = 0;
    if (!r->labels || r->options.labelling == DATASET_LABELS_NONE) return CLOZE_OK;
    CLOZE_TRY(line_reader_peek(&r->lines, &line, &n, err));
    if (!line || memchr(line, '"', n)) return CLOZE_OK; /* a quoted row may not end on this line */
    buf_init(&row.fields, LINE_READER_MAX * 2);
    cloze_status status = split_row(&row, line, n, err);
    if (status == CLOZE_OK && row.n_fields == r->n_header) {
        buf_append(keep, row.fields.data, row.fields.len);
        for (int64_t i = 0; i < row.n_fields && buf_ok(keep); i++)
            values[i] = keep->data + (i > 0 ? row.field_ends[i - 1] + 1 : 0);
    }
    buf_deinit(&row.fields);
    mem_free(row.field_ends);
    return status;
}

/* Reads the header line of CSV or of a table, and chooses the columns. */
cloze_status record_read_header(record_reader *r, cloze_error *err) {
    const char *line = NULL;
    size_t n = 0;
    column_choice choice;
    do {
        CLOZE_TRY(line_reader_next(&r->lines, &line, &n, err));
    } while (line && text_is_blank(line, n));
    if (!line) return CLOZE_OK; /* an empty file: no records, no columns */
    int64_t header_line = r->lines.line;
    CLOZE_TRY(split_row(r, line, n, err));
    r->n_header = r->n_fields;
    const char **names;
    MEM_NEW(err, names, r->n_fields * 2);
    buf keep;
    buf_init(&keep, LINE_READER_MAX * 2);
    for (int64_t i = 0; i < r->n_fields; i++) {
        const char *name = field_at(r, i);
        size_t length = field_len(r, i);
        text_trim(&name, &length);
        r->fields.data[(size_t)(name - r->fields.data) + length] = '\0';
        names[i] = name;
    }
    cloze_status status = peek_values(r, names + r->n_header, &keep, err);
    if (status == CLOZE_OK)
        status = columns_choose(names, keep.len ? names + r->n_header : NULL, (int32_t)r->n_header,
                                &r->options, r->labels, r->lines.name, header_line, &choice, err);
    if (status == CLOZE_OK) status = record_keep_choice(r, names, choice, err);
    buf_deinit(&keep);
    mem_free(names);
    return status;
}

/* ---- records ---- */

static void take_field(const record_reader *r, int32_t index, const char **text, size_t *n) {
    if (index < 0) return;
    *text = field_at(r, index);
    *n = field_len(r, index);
}

cloze_status record_next_row(record_reader *r, const char *line, size_t n, record *out,
                             cloze_error *err) {
    if (text_is_blank(line, n) && (r->format == DATASET_CSV || !memchr(line, '\t', n))) {
        out->text = "";
        out->blank = true;
        return CLOZE_OK;
    }
    CLOZE_TRY(split_row(r, line, n, err));
    if (r->n_fields != r->n_header)
        CLOZE_FAIL(err, DATA, "%s:%lld: %lld fields, but the header has %lld%s", r->lines.name,
                   (long long)out->line, (long long)r->n_fields, (long long)r->n_header,
                   r->format == DATASET_CSV ? " (a field with a comma in it needs quotes)" : "");
    take_field(r, r->text_index, &out->text, &out->text_len);
    take_field(r, r->text_b_index, &out->text_b, &out->text_b_len);
    take_field(r, r->label_index, &out->label, &out->label_len);
    return CLOZE_OK;
}
