/* Formats of data files: recognition, and the records of plain lines. See record_reader.h. */
#include "prompt/record_reader.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/utf8.h"
#include "prompt/record_columns.h"
#include "prompt/record_formats.h"

/* ---- which columns ---- */

static cloze_status keep_name(char **out, const char *name, cloze_error *err) {
    if (!name) return CLOZE_OK;
    *out = mem_strdup(name);
    if (!*out) CLOZE_FAIL(err, MEMORY, "out of memory (column names)");
    return CLOZE_OK;
}

cloze_status record_keep_choice(record_reader *r, const char *const names[], column_choice choice,
                                cloze_error *err) {
    r->text_index = choice.text;
    r->text_b_index = choice.text_b;
    r->label_index = choice.label;
    r->columns_known = true;
    CLOZE_TRY(keep_name(&r->text_column, choice.text < 0 ? NULL : names[choice.text], err));
    CLOZE_TRY(keep_name(&r->text_b_column, choice.text_b < 0 ? NULL : names[choice.text_b], err));
    return keep_name(&r->label_column, choice.label < 0 ? NULL : names[choice.label], err);
}

/* ---- plain lines ---- */

const char *record_place(char out[RECORD_PLACE_MAX], const char *name, int64_t line,
                         int32_t column) {
    if (column > 0)
        snprintf(out, RECORD_PLACE_MAX, "%.560s:%lld:%d", name, (long long)line, (int)column);
    else
        snprintf(out, RECORD_PLACE_MAX, "%.560s:%lld", name, (long long)line);
    return out;
}

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
                   "%s:%lld:%zu: a second tab; a line is text<TAB>label (text<TAB>second "
                   "text<TAB>label is --data_format pairs; texts with tabs fit into JSON lines)",
                   r->lines.name, (long long)out->line,
                   utf8_count(line, (size_t)(second - line)) + 1);
    return CLOZE_OK;
}

/* `text TAB second text`, and TAB label behind where labels are looked at. */
static cloze_status next_pair(record_reader *r, const char *line, size_t n, record *out,
                              cloze_error *err) {
    const char *tab = memchr(line, '\t', n);
    out->text = line;
    out->text_len = tab ? (size_t)(tab - line) : n;
    out->text_b = "";
    out->blank = text_is_blank(line, n);
    if (!tab && out->blank) return CLOZE_OK;
    if (!tab)
        CLOZE_FAIL(err, DATA, "%s:%lld: no tab; a pair is text<TAB>second text%s", r->lines.name,
                   (long long)out->line,
                   r->options.labelling == DATASET_LABELS_NONE ? "" : "<TAB>label");
    out->text_b = tab + 1;
    out->text_b_len = n - out->text_len - 1;
    tab = memchr(out->text_b, '\t', out->text_b_len);
    if (!tab && r->options.labelling == DATASET_LABELS_REQUIRED)
        CLOZE_FAIL(err, DATA,
                   "%s:%lld: one tab; a pair with its label is text<TAB>second "
                   "text<TAB>label",
                   r->lines.name, (long long)out->line);
    if (!tab) return CLOZE_OK;
    out->text_b_len = (size_t)(tab - out->text_b);
    const char *label = tab + 1, *third = memchr(label, '\t', n - (size_t)(label - line));
    if (third)
        CLOZE_FAIL(err, DATA, "%s:%lld:%zu: a third tab; a pair is text<TAB>second text<TAB>label",
                   r->lines.name, (long long)out->line,
                   utf8_count(line, (size_t)(third - line)) + 1);
    if (r->options.labelling == DATASET_LABELS_NONE) return CLOZE_OK;
    out->label = label;
    out->label_len = n - (size_t)(label - line);
    return CLOZE_OK;
}

/* `label text`: the label ends at the first blank. */
static cloze_status next_label_text(record_reader *r, const char *line, size_t n, record *out,
                                    cloze_error *err) {
    const char *text = line;
    size_t text_n = n;
    text_trim(&text, &text_n);
    out->blank = text_n == 0;
    out->text = text;
    if (out->blank) return CLOZE_OK;
    size_t label_n = 0;
    while (label_n < text_n && text[label_n] != ' ' && text[label_n] != '\t') label_n++;
    if (label_n == text_n)
        CLOZE_FAIL(err, DATA, "%s:%lld: no blank; a line is a label, a blank, the text",
                   r->lines.name, (long long)out->line);
    if (r->options.labelling != DATASET_LABELS_NONE) {
        out->label = text;
        out->label_len = label_n;
    }
    out->text = text + label_n + 1;
    out->text_len = text_n - label_n - 1;
    text_trim(&out->text, &out->text_len);
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

/* A line of a text may begin with [; one that is [ alone, or goes on with an object, is no text. */
static bool begins_list(const char *line, size_t n) {
    size_t at = 1;
    while (at < n && line[at] == ' ') at++;
    return at == n || line[at] == '{';
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
    bool is_object = false;
    if (!json_name && trimmed[0] == '{') CLOZE_TRY(try_json(line, n, &is_object, err));
    if (trimmed[0] == '[' && (json_name || begins_list(trimmed, trimmed_n)))
        r->format = DATASET_JSON_LIST;
    else if (json_name || is_object)
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
    else if (r->options.pair_lines)
        r->format = DATASET_PAIRS;
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
        status = record_read_header(r, err);
    if (status != CLOZE_OK) record_reader_close(r);
    return status;
}

cloze_status record_reader_next(record_reader *r, record *out, bool *done, cloze_error *err) {
    const char *line = NULL;
    size_t n = 0;
    *out = (record){0};
    if (r->format == DATASET_JSON_LIST) {
        CLOZE_TRY(record_next_element(r, out, done, err));
        out->blank = !*done && r->options.labelling == DATASET_LABELS_NONE &&
                     text_is_blank(out->text, out->text_len);
        return CLOZE_OK;
    }
    CLOZE_TRY(line_reader_next(&r->lines, &line, &n, err));
    *done = !line;
    if (!line) return CLOZE_OK;
    out->line = r->lines.line;
    if (r->format == DATASET_LINES)
        CLOZE_TRY(next_plain(r, line, n, out, err));
    else if (r->format == DATASET_JSONL)
        CLOZE_TRY(record_next_object(r, line, n, out, err));
    else if (r->format == DATASET_PAIRS)
        CLOZE_TRY(next_pair(r, line, n, out, err));
    else if (r->format == DATASET_LABEL_TEXT)
        CLOZE_TRY(next_label_text(r, line, n, out, err));
    else
        CLOZE_TRY(record_next_row(r, line, n, out, err));
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
