/* --config: a JSON object of flags, as training_args.json is one. */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "train/options_internal.h"

#define CONFIG_MAX_BYTES ((size_t)4 << 20)

/* ["a", "b"] as "a,b". */
static bool join_list(const cJSON *list, buf *out) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsString(item)) return false;
        buf_printf(out, "%s%s", out->len ? "," : "", item->valuestring);
    }
    return true;
}

static option_kind kind_of(option_target t) {
    if (t.accepted) return option_accepted_is_bool(t.accepted) ? KIND_BOOL : KIND_STRING;
    return OPTION_ROWS[t.index].kind;
}

/* The value as it would stand on the command line. */
static cloze_status value_text(const cJSON *item, option_target t, buf *out, cloze_error *err) {
    option_kind kind = kind_of(t);
    bool fits = false;
    if (kind == KIND_BOOL) {
        if ((fits = cJSON_IsBool(item))) buf_puts(out, cJSON_IsTrue(item) ? "true" : "false");
    } else if (cJSON_IsNumber(item)) {
        fits = kind == KIND_INT || kind == KIND_REAL || t.accepted;
        buf_printf(out, "%.17g", item->valuedouble);
    } else if (kind == KIND_STRING || kind == KIND_CHOICE) {
        if ((fits = cJSON_IsString(item))) buf_puts(out, item->valuestring);
        if (cJSON_IsArray(item)) fits = join_list(item, out);
        if (cJSON_IsObject(item)) { /* lr_scheduler_kwargs, class_weights */
            char *json = cJSON_PrintUnformatted(item);
            fits = json != NULL;
            buf_puts(out, json ? json : "");
            cJSON_free(json);
        }
    }
    if (!buf_ok(out)) CLOZE_FAIL(err, MEMORY, "out of memory");
    if (fits) return CLOZE_OK;
    const char *wanted = kind == KIND_BOOL                       ? "true or false"
                         : kind == KIND_INT || kind == KIND_REAL ? "a number"
                                                                 : "a text in quotes";
    CLOZE_FAIL(err, USAGE, "\"%.60s\" must be %s", item->string, wanted);
}

/* One member; null is what training_args.json writes for what was not given. */
static cloze_status set_member(options *o, const cJSON *item, bool seen[OPTION_COUNT],
                               cloze_error *err) {
    option_target t;
    buf value;
    char name[64];
    size_t n = strlen(item->string);
    for (size_t i = 0; i <= n && i < sizeof name; i++)
        name[i] = item->string[i] == '-' ? '_' : item->string[i];
    name[sizeof name - 1] = 0;
    CLOZE_TRY(option_find(o, name, &t, err));
    if (!t.accepted && seen[t.index]) CLOZE_FAIL(err, USAGE, "\"%s\" is given twice", item->string);
    if (!t.accepted) seen[t.index] = true;
    if (cJSON_IsNull(item)) return CLOZE_OK;
    if (t.index == OPTION_config)
        CLOZE_FAIL(err, USAGE, "a file of --config cannot name another one");
    buf_init(&value, CONFIG_MAX_BYTES);
    cloze_status status = value_text(item, t, &value, err);
    if (status == CLOZE_OK)
        status = option_set(o, t, name, value.len ? value.data : "", OPTION_CONFIG, err);
    buf_deinit(&value);
    return status;
}

static cloze_status set_members(options *o, const char *path, const char *text, const cJSON *root,
                                cloze_error *err) {
    bool seen[OPTION_COUNT] = {false};
    int index = 0;
    if (!cJSON_IsObject(root))
        CLOZE_FAIL(err, USAGE, "%s: not a JSON object {\"flag\": value, ...}", path);
    for (const cJSON *item = root->child; item; item = item->next, index++) {
        size_t line, column;
        cloze_status status = set_member(o, item, seen, err);
        if (status == CLOZE_OK) continue;
        json_place(text, json_member_offset(text, index), &line, &column);
        error_prefix(err, "%s:%zu:%zu", path, line, column);
        return status;
    }
    return CLOZE_OK;
}

cloze_status options_read_config(options *o, const char *path, cloze_error *err) {
    char *text;
    size_t n;
    cJSON *root = NULL;
    CLOZE_TRY(file_read(path, CONFIG_MAX_BYTES, CLOZE_ERR_USAGE, &text, &n, err));
    cloze_status status = json_parse(text, n, path, CLOZE_ERR_USAGE, &root, err);
    if (status == CLOZE_OK) status = set_members(o, path, text, root, err);
    json_destroy(root);
    mem_free(text);
    return status;
}
