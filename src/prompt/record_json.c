/*
 * Records of JSON: one object a line, or a list of objects in any layout. A list is read object by
 * object, so it may be longer than memory.
 */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "prompt/record_columns.h"
#include "prompt/record_formats.h"

/* The text of a JSON value: strings as they are, numbers and booleans as JSON writes them. */
static cloze_status json_field(record_reader *r, const record *rec, const char *key, buf *number,
                               const char **text, size_t *n, cloze_error *err) {
    char place[RECORD_PLACE_MAX];
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
        CLOZE_FAIL(err, DATA, "%s: field \"%s\" must be one string or number, not %s",
                   record_place(place, r->lines.name, rec->line, rec->column), key,
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

/* Chooses the fields from the first object. */
static cloze_status choose_keys(record_reader *r, const record *rec, cloze_error *err) {
    int32_t n = 0;
    column_choice choice;
    for (const cJSON *item = r->object->child; item && n < RECORD_MAX_FIELDS; item = item->next)
        n++;
    if (n == 0)
        CLOZE_FAIL(err, DATA, "%s:%lld: the object has no fields", r->lines.name,
                   (long long)rec->line);
    const char **names, **values;
    MEM_NEW(err, names, n * 2);
    values = names + n;
    const cJSON *item = r->object->child;
    for (int32_t i = 0; i < n; i++, item = item->next) {
        names[i] = item->string;
        if (cJSON_IsString(item)) values[i] = item->valuestring;
    }
    cloze_status status = columns_choose(names, values, n, &r->options, r->labels, r->lines.name,
                                         rec->line, &choice, err);
    if (status == CLOZE_OK) status = record_keep_choice(r, names, choice, err);
    mem_free(names);
    return status;
}

/* A JSON error at its place in the file: of an object that begins at rec's line and column. */
static cloze_status fail_json(const record_reader *r, const record *rec, const cloze_error *inner,
                              cloze_error *err) {
    unsigned long long line = 1, column = 1;
    int used = 0;
    if (sscanf(inner->message, ":%llu:%llu: %n", &line, &column, &used) < 2 || used == 0)
        return error_set(err, inner->code, "%s:%lld: %s", r->lines.name, (long long)rec->line,
                         inner->message);
    if (line == 1 && rec->column > 1) column += (unsigned)rec->column - 1;
    return error_set(err, inner->code, "%s:%llu:%llu: %s", r->lines.name,
                     (unsigned long long)rec->line + line - 1, column, inner->message + used);
}

static cloze_status parse_object(record_reader *r, const char *text, size_t n, const record *rec,
                                 cloze_error *err) {
    cloze_error inner = {0};
    json_destroy(r->object);
    r->object = NULL;
    cloze_status status = json_parse(text, n, "", CLOZE_ERR_DATA, &r->object, &inner);
    if (status != CLOZE_OK) return fail_json(r, rec, &inner, err);
    if (cJSON_IsObject(r->object)) return CLOZE_OK;
    CLOZE_FAIL(err, DATA, "%s:%lld:1: one JSON object a line is wanted", r->lines.name,
               (long long)rec->line);
}

/* The fields of an object that is `n` bytes at text. */
static cloze_status read_object(record_reader *r, const char *text, size_t n, record *out,
                                cloze_error *err) {
    CLOZE_TRY(parse_object(r, text, n, out, err));
    if (!r->columns_known) CLOZE_TRY(choose_keys(r, out, err));
    CLOZE_TRY(json_field(r, out, r->text_column, &r->numbers[0], &out->text, &out->text_len, err));
    CLOZE_TRY(
        json_field(r, out, r->text_b_column, &r->numbers[1], &out->text_b, &out->text_b_len, err));
    if (r->label_column)
        CLOZE_TRY(
            json_field(r, out, r->label_column, &r->numbers[2], &out->label, &out->label_len, err));
    const char *missing = !out->text                         ? r->text_column
                          : r->text_b_column && !out->text_b ? r->text_b_column
                                                             : NULL;
    char place[RECORD_PLACE_MAX];
    if (missing)
        CLOZE_FAIL(err, DATA, "%s: the object has no field \"%s\"",
                   record_place(place, r->lines.name, out->line, out->column), missing);
    return CLOZE_OK;
}

cloze_status record_next_object(record_reader *r, const char *line, size_t n, record *out,
                                cloze_error *err) {
    if (!text_is_blank(line, n)) return read_object(r, line, n, out, err);
    out->text = "";
    out->blank = true;
    return CLOZE_OK;
}

/* ---- lists ---- */

/* Counts on from the last time: a list may be one line of millions of objects. */
static size_t list_column(record_reader *r) {
    r->row_columns += utf8_count(r->row + r->row_counted, r->row_at - r->row_counted);
    r->row_counted = r->row_at;
    return r->row_columns + 1;
}

static cloze_status list_next_row(record_reader *r, cloze_error *err) {
    r->row_at = r->row_counted = r->row_columns = 0;
    return line_reader_next(&r->lines, &r->row, &r->row_n, err);
}

/* Moves to the next character that is no blank, over lines; r->row NULL = the source has ended. */
static cloze_status list_skip_blanks(record_reader *r, cloze_error *err) {
    for (;;) {
        while (r->row && r->row_at < r->row_n && text_is_blank(r->row + r->row_at, 1)) r->row_at++;
        if (r->row && r->row_at < r->row_n) return CLOZE_OK;
        CLOZE_TRY(list_next_row(r, err));
        if (!r->row) return CLOZE_OK;
    }
}

/* Bytes of the current line up to the end of the object, or all of them; *depth counts brackets
 * outside of strings. */
static size_t scan_object(const record_reader *r, int64_t *depth, bool *in_string) {
    size_t at = r->row_at;
    for (; at < r->row_n; at++) {
        char c = r->row[at];
        if (*in_string && c == '\\') at++;
        if (c == '"') *in_string = !*in_string;
        if (*in_string) continue;
        if (c == '{' || c == '[') ++*depth;
        if ((c == '}' || c == ']') && --*depth == 0) return at + 1;
    }
    return r->row_n;
}

/* Collects the object that begins at the current character in r->fields. */
static cloze_status list_take_object(record_reader *r, const record *rec, cloze_error *err) {
    int64_t depth = 0;
    bool in_string = false;
    buf_clear(&r->fields);
    for (;;) {
        size_t end = scan_object(r, &depth, &in_string);
        buf_append(&r->fields, r->row + r->row_at, end - r->row_at);
        r->row_at = end;
        if (depth == 0) break;
        buf_putc(&r->fields, '\n');
        CLOZE_TRY(list_next_row(r, err));
        if (!r->row)
            CLOZE_FAIL(err, DATA, "%s:%lld:%d: the object that begins here is never closed",
                       r->lines.name, (long long)rec->line, (int)rec->column);
        if (r->fields.len > LINE_READER_MAX)
            CLOZE_FAIL(
                err, DATA,
                "%s:%lld:%d: the object that begins here is longer than %zu MB; is a bracket "
                "or a quote missing?",
                r->lines.name, (long long)rec->line, (int)rec->column, LINE_READER_MAX >> 20);
    }
    if (!buf_ok(&r->fields)) CLOZE_FAIL(err, MEMORY, "out of memory (reading %s)", r->lines.name);
    return CLOZE_OK;
}

static cloze_status list_fail(record_reader *r, const char *wanted, cloze_error *err) {
    if (!r->row)
        CLOZE_FAIL(err, DATA, "%s:%lld: the list is never closed: %s is wanted at its end",
                   r->lines.name, (long long)r->lines.line, wanted);
    CLOZE_FAIL(err, DATA, "%s:%lld:%zu: %s is wanted here", r->lines.name, (long long)r->lines.line,
               list_column(r), wanted);
}

/* Eats the bracket or comma before the next object. *done at the end of the list. */
static cloze_status list_advance(record_reader *r, bool *done, cloze_error *err) {
    CLOZE_TRY(list_skip_blanks(r, err));
    char c = r->row ? r->row[r->row_at] : 0;
    bool begins = r->list_state == LIST_NOT_BEGUN;
    if (begins ? c != '[' : c != ',' && c != ']') return list_fail(r, begins ? "[" : ", or ]", err);
    r->row_at++;
    CLOZE_TRY(list_skip_blanks(r, err));
    bool empty = begins && r->row && r->row[r->row_at] == ']';
    r->list_state = LIST_BEGUN;
    *done = c == ']' || empty;
    if (!*done) return CLOZE_OK;
    r->list_state = LIST_ENDED;
    if (empty) {
        r->row_at++;
        CLOZE_TRY(list_skip_blanks(r, err));
    }
    if (r->row)
        CLOZE_FAIL(err, DATA, "%s:%lld:%zu: something follows the list", r->lines.name,
                   (long long)r->lines.line, list_column(r));
    return CLOZE_OK;
}

cloze_status record_next_element(record_reader *r, record *out, bool *done, cloze_error *err) {
    *done = r->list_state == LIST_ENDED;
    if (*done) return CLOZE_OK;
    CLOZE_TRY(list_advance(r, done, err));
    if (*done) return CLOZE_OK;
    if (!r->row || r->row[r->row_at] != '{')
        return list_fail(r, "an object, {\"text\": ...},", err);
    out->line = r->lines.line;
    out->column = (int32_t)list_column(r);
    CLOZE_TRY(list_take_object(r, out, err));
    return read_object(r, r->fields.data, r->fields.len, out, err);
}
