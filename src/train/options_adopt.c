/* Going on with the options of an earlier run. */
#include <string.h>

#include "base/json.h"
#include "train/options_internal.h"

static cloze_status set_json(options *o, const option_row *row, const cJSON *value,
                             cloze_error *err) {
    void *to = option_field(o, row);
    int64_t whole = 0;
    const char *text = NULL, *copy = NULL;
    switch (row->kind) {
    case KIND_GROUP: break;
    case KIND_BOOL: return json_get_bool(value, row->name, to, err);
    case KIND_REAL: return json_get_double(value, row->name, to, err);
    case KIND_INT:
        whole = *(int64_t *)to;
        CLOZE_TRY(
            json_get_int(value, row->name, (int64_t)row->min, (int64_t)row->max, &whole, err));
        *(int64_t *)to = whole;
        break;
    case KIND_STRING:
    case KIND_CHOICE:
        CLOZE_TRY(json_get_string(value, row->name, &text, err));
        if (!text) break;
        copy = arena_strdup(&o->memory, text);
        if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory for --%s", row->name);
        *(const char **)to = copy;
        break;
    }
    return CLOZE_OK;
}

static bool is_equal(const option_row *row, const options *a, const options *b) {
    const void *x = option_field(a, row), *y = option_field(b, row);
    switch (row->kind) {
    case KIND_GROUP: return true;
    case KIND_BOOL: return *(const bool *)x == *(const bool *)y;
    case KIND_REAL: return *(const double *)x == *(const double *)y;
    case KIND_INT: return *(const int64_t *)x == *(const int64_t *)y;
    case KIND_STRING:
    case KIND_CHOICE: break;
    }
    const char *s = *(const char *const *)x, *t = *(const char *const *)y;
    return s && t ? strcmp(s, t) == 0 : s == t;
}

static void write_plain(const options *o, const option_row *row, buf *out) {
    bool text = row->kind == KIND_STRING || row->kind == KIND_CHOICE;
    const char *value = text ? *(const char **)option_field(o, row) : NULL;
    if (text)
        buf_puts(out, value ? value : "(none)");
    else
        option_write_value(o, row, out);
}

static cloze_status adopt_row(options *o, const options *saved, int index, options_judge judge,
                              void *ctx, cloze_error *err) {
    const option_row *row = &OPTION_ROWS[index];
    bool keep = false;
    buf then, now;
    if (is_equal(row, o, saved)) return CLOZE_OK;
    buf_init(&then, 1 << 20);
    buf_init(&now, 1 << 20);
    write_plain(saved, row, &then);
    write_plain(o, row, &now);
    cloze_status status =
        buf_ok(&then) && buf_ok(&now)
            ? judge(ctx, row->name, then.data, now.data, o->is_set[index], &keep, err)
            : error_set(err, CLOZE_ERR_MEMORY, "out of memory for --%s", row->name);
    buf_deinit(&then);
    buf_deinit(&now);
    if (status != CLOZE_OK || keep || o->is_set[index]) return status;
    o->is_set[index] = OPTION_CONFIG;
    if (row->kind == KIND_BOOL) {
        *(bool *)option_field(o, row) = *(bool *)option_field(saved, row);
    } else if (row->kind == KIND_INT) {
        *(int64_t *)option_field(o, row) = *(int64_t *)option_field(saved, row);
    } else if (row->kind == KIND_REAL) {
        *(double *)option_field(o, row) = *(double *)option_field(saved, row);
    } else {
        const char *text = *(const char **)option_field(saved, row);
        const char *copy = text ? arena_strdup(&o->memory, text) : NULL;
        if (text && !copy) CLOZE_FAIL(err, MEMORY, "out of memory for --%s", row->name);
        *(const char **)option_field(o, row) = copy;
    }
    return CLOZE_OK;
}

cloze_status options_adopt(options *o, const cJSON *saved, const char *what, options_judge judge,
                           void *ctx, cloze_error *err) {
    options then;
    cloze_status status = CLOZE_OK;
    options_set_defaults(&then, o->command);
    for (int i = 0; i < OPTION_COUNT && status == CLOZE_OK; i++)
        if (option_is_listed(&OPTION_ROWS[i], o->command))
            status = set_json(&then, &OPTION_ROWS[i], saved, err);
    if (status != CLOZE_OK) error_prefix(err, "%s", what);
    for (int i = 0; i < OPTION_COUNT && status == CLOZE_OK; i++)
        if (option_is_listed(&OPTION_ROWS[i], o->command) &&
            cJSON_HasObjectItem(saved, OPTION_ROWS[i].name))
            status = adopt_row(o, &then, i, judge, ctx, err);
    options_deinit(&then);
    if (status == CLOZE_OK) options_apply_rules(o);
    return status;
}
