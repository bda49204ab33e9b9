/* trainer_state.json and resume_state.json. */
#include "train/state.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#define STATE_MAX_BYTES ((size_t)1 << 30)
#define STATE_FILE "trainer_state.json"
#define RESUME_FILE "resume_state.json"
#define COUNT_MAX ((int64_t)1 << 53)

void trainer_state_init(trainer_state *s) {
    memset(s, 0, sizeof *s);
    s->best_metric = NAN;
    buf_init(&s->log_history, STATE_MAX_BYTES);
}

void trainer_state_deinit(trainer_state *s) {
    mem_free(s->best_model_checkpoint);
    buf_deinit(&s->log_history);
}

void trainer_state_log(trainer_state *s, const buf *fields) {
    buf *b = &s->log_history;
    if (!buf_ok(fields)) {
        b->failed = true;
        return;
    }
    buf_puts(b, b->len ? ",\n    {\n      \"epoch\": " : "\n    {\n      \"epoch\": ");
    buf_json_double(b, s->epoch);
    buf_printf(b, ",\n      %s,\n      \"step\": %lld\n    }", fields->data,
               (long long)s->global_step);
}

/* ---- writing ---- */

cloze_status state_write_file(const char *dir, const char *name, const buf *b, cloze_error *err) {
    char *path = path_join(dir, name);
    cloze_status status = !path || !buf_ok(b) ? error_set(err, CLOZE_ERR_MEMORY,
                                                          "out of memory writing %s/%s", dir, name)
                                              : file_write_atomic(path, b->data, b->len, err);
    mem_free(path);
    return status;
}

cloze_status trainer_state_write(const trainer_state *s, const char *dir, cloze_error *err) {
    buf b;
    if (!buf_ok(&s->log_history)) CLOZE_FAIL(err, MEMORY, "out of memory for the log of the run");
    buf_init(&b, STATE_MAX_BYTES);
    buf_puts(&b, "{\n  \"best_metric\": ");
    buf_json_double(&b, s->best_metric);
    buf_puts(&b, ",\n  \"best_model_checkpoint\": ");
    if (s->best_model_checkpoint)
        buf_json_string(&b, s->best_model_checkpoint, strlen(s->best_model_checkpoint));
    else
        buf_puts(&b, "null");
    buf_puts(&b, ",\n  \"epoch\": ");
    buf_json_double(&b, s->epoch);
    buf_printf(&b, ",\n  \"eval_steps\": %lld,\n  \"global_step\": %lld,\n",
               (long long)s->eval_steps, (long long)s->global_step);
    buf_puts(&b, "  \"is_hyper_param_search\": false,\n  \"is_local_process_zero\": true,\n  "
                 "\"is_world_process_zero\": true,\n");
    buf_printf(&b, "  \"log_history\": [%s\n  ],\n", s->log_history.len ? s->log_history.data : "");
    buf_printf(&b, "  \"logging_steps\": %lld,\n  \"max_steps\": %lld,\n  \"num_train_epochs\": ",
               (long long)s->logging_steps, (long long)s->max_steps);
    buf_json_double(&b, s->num_train_epochs);
    buf_printf(&b, ",\n  \"save_steps\": %lld,\n", (long long)s->save_steps);
    buf_printf(&b,
               "  \"stateful_callbacks\": {\n    \"EarlyStoppingCallback\": {\n"
               "      \"early_stopping_patience_counter\": %lld\n    }\n  },\n",
               (long long)s->evaluations_without_gain);
    buf_printf(&b,
               "  \"total_flos\": 0,\n  \"train_batch_size\": %lld,\n  \"trial_name\": null,\n  "
               "\"trial_params\": null\n}\n",
               (long long)s->train_batch_size);
    cloze_status status = state_write_file(dir, STATE_FILE, &b, err);
    buf_deinit(&b);
    return status;
}

/* A hash has more digits than a JSON number keeps: it is a string. */
static void put_hash(buf *b, const char *key, uint64_t hash) {
    buf_printf(b, ",\n  \"%s\": \"%016" PRIx64 "\"", key, hash);
}

cloze_status trainer_state_write_resume(const trainer_state *s, const char *dir, cloze_error *err) {
    buf b;
    buf_init(&b, 4096);
    buf_printf(&b,
               "{\n  \"data_epoch\": %lld,\n  \"data_position\": %lld,\n  \"evaluated_step\": %lld,"
               "\n  \"logged_loss\": ",
               (long long)s->data_epoch, (long long)s->data_position, (long long)s->evaluated_step);
    buf_json_double(&b, s->logged_loss);
    buf_printf(&b, ",\n  \"logged_steps\": %lld,\n  \"loss_sum\": ", (long long)s->logged_steps);
    buf_json_double(&b, s->loss_sum);
    buf_puts(&b, ",\n  \"seconds\": ");
    buf_json_double(&b, s->seconds);
    buf_printf(&b, ",\n  \"tokens_done\": %lld", (long long)s->tokens_done);
    put_hash(&b, "train_data", s->train_hash);
    put_hash(&b, "dev_data", s->dev_hash);
    buf_puts(&b, "\n}\n");
    cloze_status status = state_write_file(dir, RESUME_FILE, &b, err);
    buf_deinit(&b);
    return status;
}

/* ---- reading ---- */

/* The character behind a string's closing quote; p is at the opening one. */
static const char *skip_string(const char *p) {
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1]) p++;
    return *p ? p + 1 : p;
}

/* The list of `key` in an object's text that was parsed: NULL when there is none. */
static const char *find_array(const char *text, const char *key) {
    size_t n = strlen(key);
    int depth = 0;
    for (const char *p = text; *p;) {
        depth += *p == '{' || *p == '[';
        depth -= *p == '}' || *p == ']';
        if (*p++ != '"') continue;
        const char *end = skip_string(p - 1), *value = end + strspn(end, " \t\r\n");
        bool found =
            depth == 1 && *value == ':' && end - p == (ptrdiff_t)n + 1 && strncmp(p, key, n) == 0;
        p = end;
        if (!found) continue;
        value += 1 + strspn(value + 1, " \t\r\n");
        return *value == '[' ? value : NULL;
    }
    return NULL;
}

/* The bytes between the brackets of the list at p, without white space at their end. */
static void copy_inside(const char *p, buf *out) {
    const char *start = p + 1;
    int depth = 0;
    do {
        depth += *p == '{' || *p == '[';
        depth -= *p == '}' || *p == ']';
        p = *p == '"' ? skip_string(p) : p + 1;
    } while (*p && depth > 0);
    const char *end = p - 1;
    while (end > start && strchr(" \t\r\n", end[-1])) end--;
    buf_append(out, start, (size_t)(end - start));
}

static cloze_status parse_state(trainer_state *s, const cJSON *json, const char *text,
                                cloze_error *err) {
    const char *best = NULL;
    const char *log = find_array(text, "log_history");
    const cJSON *callbacks = cJSON_GetObjectItemCaseSensitive(json, "stateful_callbacks");
    const cJSON *early = cJSON_GetObjectItemCaseSensitive(callbacks, "EarlyStoppingCallback");
    if (!cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, "global_step")))
        CLOZE_FAIL(err, MODEL, "there is no \"global_step\"");
    CLOZE_TRY(json_get_int(json, "global_step", 0, COUNT_MAX, &s->global_step, err));
    CLOZE_TRY(json_get_double(json, "epoch", &s->epoch, err));
    CLOZE_TRY(json_get_double(json, "best_metric", &s->best_metric, err));
    CLOZE_TRY(json_get_string(json, "best_model_checkpoint", &best, err));
    if (early)
        CLOZE_TRY(json_get_int(early, "early_stopping_patience_counter", 0, COUNT_MAX,
                               &s->evaluations_without_gain, err));
    if (best && !(s->best_model_checkpoint = mem_strdup(best)))
        CLOZE_FAIL(err, MEMORY, "out of memory");
    if (!log) CLOZE_FAIL(err, MODEL, "\"log_history\" is no list");
    copy_inside(log, &s->log_history);
    return buf_ok(&s->log_history) ? CLOZE_OK
                                   : error_set(err, CLOZE_ERR_MEMORY, "out of memory for the log");
}

static cloze_status get_hash(const cJSON *json, const char *key, uint64_t *out, cloze_error *err) {
    const char *text = NULL;
    CLOZE_TRY(json_get_string(json, key, &text, err));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        CLOZE_FAIL(err, MODEL, "\"%s\" must be 16 hexadecimal digits", key);
    *out = strtoull(text, NULL, 16);
    return CLOZE_OK;
}

static cloze_status parse_resume(trainer_state *s, const cJSON *json, const char *text,
                                 cloze_error *err) {
    CLOZE_TRY(json_get_int(json, "data_epoch", 0, COUNT_MAX, &s->data_epoch, err));
    CLOZE_TRY(json_get_int(json, "data_position", 0, COUNT_MAX, &s->data_position, err));
    CLOZE_TRY(json_get_int(json, "evaluated_step", 0, COUNT_MAX, &s->evaluated_step, err));
    CLOZE_TRY(json_get_int(json, "logged_steps", 0, COUNT_MAX, &s->logged_steps, err));
    CLOZE_TRY(json_get_int(json, "tokens_done", 0, COUNT_MAX, &s->tokens_done, err));
    CLOZE_TRY(json_get_double(json, "logged_loss", &s->logged_loss, err));
    CLOZE_TRY(json_get_double(json, "loss_sum", &s->loss_sum, err));
    CLOZE_TRY(json_get_double(json, "seconds", &s->seconds, err));
    CLOZE_TRY(get_hash(json, "train_data", &s->train_hash, err));
    return get_hash(json, "dev_data", &s->dev_hash, err);
}

typedef cloze_status (*state_parser)(trainer_state *s, const cJSON *json, const char *text,
                                     cloze_error *err);

static cloze_status read_json(trainer_state *s, const char *dir, const char *name,
                              state_parser parser, cloze_error *err) {
    char *path = path_join(dir, name), *text = NULL;
    size_t n = 0;
    cJSON *json = NULL;
    cloze_status status = path ? file_read(path, STATE_MAX_BYTES, CLOZE_ERR_MODEL, &text, &n, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = json_parse(text, n, path, CLOZE_ERR_MODEL, &json, err);
    if (status == CLOZE_OK) {
        status = parser(s, json, text, err);
        if (status != CLOZE_OK) error_prefix(err, "%s", path);
    }
    json_destroy(json);
    mem_free(text);
    mem_free(path);
    return status;
}

cloze_status trainer_state_read(trainer_state *s, const char *dir, cloze_error *err) {
    CLOZE_TRY(read_json(s, dir, STATE_FILE, parse_state, err));
    return read_json(s, dir, RESUME_FILE, parse_resume, err);
}
