/* Formats of data files: recognition, and one reader for each. See record_reader.h. */
#include "prompt/record_reader.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/utf8.h"
#include "prompt/grow.h"
#include "prompt/record_columns.h"

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

/* ---- which columns ---- */

static cloze_status keep_name(char **out, const char *name, cloze_error *err) {
    if (!name) return CLOZE_OK;
    *out = mem_strdup(name);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory (column names)");
    return CLOZE_OK;
}

static cloze_status keep_choice(record_reader *r, const char *const names[], column_choice choice,
                                cloze_error *err) {
    r->text_index = choice.text;
    r->text_b_index = choice.text_b;
    r->label_index = choice.label;
    r->columns_known = true;
    CLOZE_TRY(keep_name(&r->text_column, choice.text < 0 ? NULL : names[choice.text], err));
    CLOZE_TRY(keep_name(&r->text_b_column, choice.text_b < 0 ? NULL : names[choice.text_b], err));
    return keep_name(&r->label_column, choice.label < 0 ? NULL : names[choice.label], err);
}

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
static cloze_status read_header(record_reader *r, cloze_error *err) {
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
    if (status == CLOZE_OK) status = keep_choice(r, names, choice, err);
    buf_deinit(&keep);
    mem_free(names);
    return status;
}

/* ---- one record of each format ---- */

static cloze_status next_plain(record_reader *r, const char *line, size_t n, record *out,
                               cloze_error *err) {
    out->text = line;
    out->text_len = n;
    out->blank = text_is_blank(line, n) && !memchr(line, '\t', n);
    if (r->options.labelling == DATASET_LABELS_NONE) {
        out->blank = text_is_blank(line, n);
        return CLOZE_OK;
    }
    const char *tab = memchr(line, '\t', n);
    if (!tab) return CLOZE_OK;
    out->text_len = (size_t)(tab - line);
    out->label = tab + 1;
    out->label_len = n - out->text_len - 1;
    const char *second = memchr(out->label, '\t', out->label_len);
    if (second)
        CLOZE_FAIL(err, DATA,
                   "%s:%lld:%zu: a second tab; a line is text<TAB>label (texts with tabs "
                   "fit into JSON lines: {\"text\": ..., \"label\": ...})",
                   r->lines.name, (long long)out->line,
                   utf8_count(line, (size_t)(second - line)) + 1);
    return CLOZE_OK;
}

static void take_field(const record_reader *r, int32_t index, const char **text, size_t *n) {
    if (index < 0) return;
    *text = field_at(r, index);
    *n = field_len(r, index);
}

static cloze_status next_row(record_reader *r, const char *line, size_t n, record *out,
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

/* The text of a JSON value: strings as they are, numbers and booleans as JSON writes them. */
static cloze_status json_field(record_reader *r, const char *key, buf *number, const char **text,
                               size_t *n, cloze_error *err) {
    const cJSON *value = key ? cJSON_GetObjectItemCaseSensitive(r->object, key) : NULL;
    if (!value || cJSON_IsNull(value)) return CLOZE_OK;
    if (cJSON_IsString(value)) {
        *text = value->valuestring;
        *n = strlen(value->valuestring);
        return CLOZE_OK;
    }
    buf_clear(number);
    double d = value->valuedouble;
    if (cJSON_IsBool(value))
        buf_puts(number, cJSON_IsTrue(value) ? "true" : "false");
    else if (!cJSON_IsNumber(value))
        CLOZE_FAIL(err, DATA, "%s:%lld: field \"%s\" must be one string or number, not %s",
                   r->lines.name, (long long)r->lines.line, key,
                   cJSON_IsArray(value) ? "a list" : "an object");
    else if (d > -1e15 && d < 1e15 && d == (double)(int64_t)d)
        buf_printf(number, "%lld", (long long)d);
    else
        buf_json_double(number, d);
    if (!buf_ok(number)) CLOZE_FAIL(err, MEMORY, "out of memory (reading %s)", r->lines.name);
    *text = number->data;
    *n = number->len;
    return CLOZE_OK;
}

/* Chooses the fields of JSON lines from the first object. */
static cloze_status choose_keys(record_reader *r, cloze_error *err) {
    int32_t n = 0;
    column_choice choice;
    for (const cJSON *item = r->object->child; item && n < RECORD_MAX_FIELDS; item = item->next)
        n++;
    if (n == 0)
        CLOZE_FAIL(err, DATA, "%s:%lld: the object has no fields", r->lines.name,
                   (long long)r->lines.line);
    const char **names, **values;
    MEM_NEW(err, names, n * 2);
    values = names + n;
    const cJSON *item = r->object->child;
    for (int32_t i = 0; i < n; i++, item = item->next) {
        names[i] = item->string;
        if (cJSON_IsString(item)) values[i] = item->valuestring;
    }
    cloze_status status = columns_choose(names, values, n, &r->options, r->labels, r->lines.name,
                                         r->lines.line, &choice, err);
    if (status == CLOZE_OK) status = keep_choice(r, names, choice, err);
    mem_free(names);
    return status;
}

static cloze_status parse_object(record_reader *r, const char *line, size_t n, cloze_error *err) {
    cloze_error inner = {0};
    json_destroy(r->object);
    r->object = NULL;
    cloze_status status = json_parse(line, n, "", CLOZE_ERR_DATA, &r->object, &inner);
    if (status == CLOZE_OK && cJSON_IsObject(r->object)) return CLOZE_OK;
    if (status == CLOZE_OK)
        CLOZE_FAIL(err, DATA, "%s:%lld:1: one JSON object a line is wanted", r->lines.name,
                   (long long)r->lines.line);
    const char *reason = strncmp(inner.message, ":1:", 3) == 0 ? inner.message + 3 : inner.message;
    return error_set(err, status, "%s:%lld:%s", r->lines.name, (long long)r->lines.line, reason);
}

static cloze_status next_object(record_reader *r, const char *line, size_t n, record *out,
                                cloze_error *err) {
    if (text_is_blank(line, n)) {
        out->text = "";
        out->blank = true;
        return CLOZE_OK;
    }
    CLOZE_TRY(parse_object(r, line, n, err));
    if (!r->columns_known) CLOZE_TRY(choose_keys(r, err));
    CLOZE_TRY(json_field(r, r->text_column, &r->numbers[0], &out->text, &out->text_len, err));
    CLOZE_TRY(json_field(r, r->text_b_column, &r->numbers[1], &out->text_b, &out->text_b_len, err));
    if (r->label_column)
        CLOZE_TRY(
            json_field(r, r->label_column, &r->numbers[2], &out->label, &out->label_len, err));
    const char *missing = !out->text                         ? r->text_column
                          : r->text_b_column && !out->text_b ? r->text_b_column
                                                             : NULL;
    if (missing)
        CLOZE_FAIL(err, DATA, "%s:%lld: the object has no field \"%s\"", r->lines.name,
                   (long long)out->line, missing);
    return CLOZE_OK;
}

/* ---- which format ---- */

static bool has_extension(const char *name, const char *extension) {
    size_t n = strlen(name), m = strlen(extension);
    return n > m && strcasecmp(name + n - m, extension) == 0;
}

/* *is_object: the line is one JSON object. Fails only without memory. */
static cloze_status try_json(const char *line, size_t n, bool *is_object, cloze_error *err) {
    cJSON *root = NULL;
    cloze_error inner;
    cloze_status status = json_parse(line, n, "", CLOZE_ERR_DATA, &root, &inner);
    *is_object = status == CLOZE_OK && cJSON_IsObject(root);
    json_destroy(root);
    if (status != CLOZE_ERR_MEMORY) return CLOZE_OK;
    if (err) *err = inner;
    return status;
}

/* A header of nothing but usual column names, a text among them and a label or pair: two columns at
 * least, so that a first line such as "title" stays a text. */
static bool is_header(const char *line, size_t n, char separator) {
    bool has_text = false, has_other = false;
    while (n > 0) {
        const char *end = memchr(line, separator, n);
        const char *name = line;
        size_t length = end ? (size_t)(end - line) : n, name_n = length;
        char copy[64];
        text_trim(&name, &name_n);
        if (name_n >= 2 && name[0] == '"' && name[name_n - 1] == '"') name++, name_n -= 2;
        if (name_n == 0 || name_n >= sizeof copy) return false;
        memcpy(copy, name, name_n);
        copy[name_n] = '\0';
        bool is_text = column_is_text(copy),
             is_other = column_is_label(copy) || column_is_pair(copy);
        if (!is_text && !is_other && strcasecmp(copy, "id") != 0 && strcasecmp(copy, "idx") != 0)
            return false;
        if (is_text && !has_text)
            has_text = true;
        else
            has_other = has_other || is_other;
        line += length + (end ? 1 : 0);
        n -= length + (end ? 1 : 0);
    }
    return has_text && has_other;
}

static cloze_status recognise(record_reader *r, cloze_error *err) {
    const char *line = NULL, *name = r->lines.name;
    size_t n = 0;
    bool named = r->options.text_column || r->options.text_b_column || r->options.label_column;
    bool json_name = has_extension(name, ".jsonl") || has_extension(name, ".json");
    CLOZE_TRY(line_reader_peek(&r->lines, &line, &n, err));
    r->format = json_name                     ? DATASET_JSONL
                : has_extension(name, ".csv") ? DATASET_CSV
                                              : DATASET_LINES;
    if (!line) return CLOZE_OK;
    const char *trimmed = line;
    size_t trimmed_n = n;
    text_trim(&trimmed, &trimmed_n);
    if (json_name && trimmed[0] == '[')
        CLOZE_FAIL(err, DATA,
                   "%s: a JSON list; one object a line is wanted (jq -c '.[]' makes that)", name);
    bool is_object = false;
    if (!json_name && trimmed[0] == '{') CLOZE_TRY(try_json(line, n, &is_object, err));
    if (json_name || is_object)
        r->format = DATASET_JSONL;
    else if (r->format == DATASET_CSV)
        return CLOZE_OK;
    else if (is_header(line, n, ','))
        r->format = DATASET_CSV;
    else if ((r->options.labelling != DATASET_LABELS_NONE || r->options.usual_text_column) &&
             is_header(line, n, '\t'))
        r->format = DATASET_TABLE; /* without labels a tab is text, unless the run knows fields */
    else if (named)
        r->format = memchr(line, '\t', n) ? DATASET_TABLE : DATASET_CSV;
    return CLOZE_OK;
}

/* ---- the reader ---- */

cloze_status record_reader_open(record_reader *r, const char *path, const char *text, size_t n,
                                const char *name, const dataset_options *options,
                                const label_set *labels, cloze_error *err) {
    *r = (record_reader){.labels = labels, .text_index = -1, .text_b_index = -1, .label_index = -1};
    if (options) r->options = *options;
    r->format = r->options.format;
    buf_init(&r->fields, LINE_READER_MAX * 2);
    for (int i = 0; i < 3; i++) buf_init(&r->numbers[i], 64);
    cloze_status status = path ? line_reader_open(&r->lines, path, err)
                               : line_reader_open_memory(&r->lines, text, n, name, err);
    if (status == CLOZE_OK && r->format == DATASET_AUTO) status = recognise(r, err);
    if (status == CLOZE_OK && (r->format == DATASET_CSV || r->format == DATASET_TABLE))
        status = read_header(r, err);
    if (status != CLOZE_OK) record_reader_close(r);
    return status;
}

cloze_status record_reader_next(record_reader *r, record *out, bool *done, cloze_error *err) {
    const char *line = NULL;
    size_t n = 0;
    *out = (record){0};
    CLOZE_TRY(line_reader_next(&r->lines, &line, &n, err));
    *done = !line;
    if (!line) return CLOZE_OK;
    out->line = r->lines.line;
    if (r->format == DATASET_LINES)
        CLOZE_TRY(next_plain(r, line, n, out, err));
    else if (r->format == DATASET_JSONL)
        CLOZE_TRY(next_object(r, line, n, out, err));
    else
        CLOZE_TRY(next_row(r, line, n, out, err));
    if (r->options.labelling == DATASET_LABELS_NONE && text_is_blank(out->text, out->text_len))
        out->blank = true;
    return CLOZE_OK;
}

void record_reader_close(record_reader *r) {
    line_reader_close(&r->lines);
    json_destroy(r->object);
    mem_free(r->text_column);
    mem_free(r->text_b_column);
    mem_free(r->label_column);
    mem_free(r->field_ends);
    buf_deinit(&r->fields);
    for (int i = 0; i < 3; i++) buf_deinit(&r->numbers[i]);
    *r = (record_reader){0};
}
