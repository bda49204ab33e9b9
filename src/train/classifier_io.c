/*
 * Run directories and checkpoints: writing a classifier and opening it again. Besides Hugging
 * Face's model and tokenizer files they hold
 *
 *   classifier.json          method, verbalizer, lengths, fields: what the other files do not say
 *   template_config.json     PaddleNLP's form (prompt method)
 *   verbalizer_config.json   {label: [words]}
 *   prompt.safetensors       "verbalizer.weight" (C,H) of a soft verbalizer
 */
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "ckpt/checkpoint_write.h"
#include "model/locate.h"
#include "train/classifier_internal.h"
#include "train/classifier_paddle.h"

#define CLASSIFIER_FILE "classifier.json"
#define SMALL_FILE_MAX ((size_t)64 << 20)

static const char *const METHOD_NAMES[] = {"prompt", "finetune"};
static const char *const VERBALIZER_NAMES[] = {"soft", "manual"};

static cloze_status write_text(const char *dir, const char *name, const buf *text,
                               cloze_error *err) {
    char *path = path_join(dir, name);
    if (!path || !buf_ok(text)) {
        mem_free(path);
        CLOZE_FAIL(err, MEMORY, "out of memory writing %s/%s", dir, name);
    }
    cloze_status status = file_write_atomic(path, text->data, text->len, err);
    mem_free(path);
    return status;
}

static void put_string(buf *b, const char *key, const char *value) {
    buf_printf(b, ",\n  \"%s\": ", key);
    if (value)
        buf_json_string(b, value, strlen(value));
    else
        buf_puts(b, "null");
}

static cloze_status write_settings(const classifier *c, const char *dir, cloze_error *err) {
    const classifier_options *o = &c->options;
    buf b;
    buf_init(&b, SMALL_FILE_MAX);
    buf_printf(&b,
               "{\n  \"method\": \"%s\",\n  \"verbalizer\": \"%s\",\n  \"max_seq_length\": %d,\n",
               METHOD_NAMES[o->method], VERBALIZER_NAMES[o->verbalizer], o->max_seq_length);
    buf_printf(&b, "  \"do_lower_case\": %d,\n  \"truncate_left\": %s,\n  \"has_text_b\": %s",
               o->do_lower_case, o->truncate_left ? "true" : "false",
               o->has_text_b ? "true" : "false");
    if (o->first_generation) buf_puts(&b, ",\n  \"first_generation\": true");
    if (o->absolute_positions) buf_puts(&b, ",\n  \"absolute_positions\": true");
    put_string(&b, "text_field", o->text_field);
    put_string(&b, "text_b_field", o->text_b_field);
    buf_puts(&b, "\n}\n");
    cloze_status status = write_text(dir, CLASSIFIER_FILE, &b, err);
    buf_deinit(&b);
    return status;
}

static ckpt_item item_of(const param *p) {
    ckpt_item item = {.name = p->name,
                      .dtype = DTYPE_F32,
                      .rank = p->rank,
                      .shape = {p->rank == 1 ? p->w.t.cols : p->w.t.rows, p->w.t.cols},
                      .data = p->w.t.data,
                      .from_f32 = true};
    if (p->rank == 1) item.shape[1] = 0;
    return item;
}

static cloze_status write_prompt(const classifier *c, const char *dir, cloze_error *err) {
    buf b;
    buf_init(&b, SMALL_FILE_MAX);
    template_write_config(&c->tmpl, &b);
    cloze_status status = write_text(dir, "template_config.json", &b, err);
    buf_deinit(&b);
    const param *soft = verbalizer_param(c->verbalizer);
    if (status != CLOZE_OK || !soft) return status;
    ckpt_item items[2] = {item_of(soft)};
    const param *bias = verbalizer_bias(c->verbalizer);
    if (bias) items[1] = item_of(bias);
    char *path = path_join(dir, "prompt.safetensors");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory writing %s", dir);
    status = safetensors_write(path, items, bias ? 2 : 1, NULL, 0, err);
    mem_free(path);
    return status;
}

/* A directory that is written over must not open as a mixture of two runs when writing fails
 * half-way, nor keep files that only the old method had. */
static cloze_status forget_old_run(const char *dir, cloze_error *err) {
    static const char *const FILES[] = {CLASSIFIER_FILE, "prompt.safetensors",
                                        "template_config.json"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char *path = path_join(dir, FILES[i]);
        bool failed = path && file_exists(path) && remove(path) != 0;
        bool no_memory = !path;
        mem_free(path);
        if (no_memory) CLOZE_FAIL(err, MEMORY, "out of memory writing %s", dir);
        if (failed) CLOZE_FAIL(err, IO, "%s/%s: cannot be replaced", dir, FILES[i]);
    }
    return CLOZE_OK;
}

cloze_status classifier_save(const classifier *c, const char *dir, cloze_error *err) {
    CLOZE_TRY(forget_old_run(dir, err));
    CLOZE_TRY(model_save(c->model, dir, DTYPE_F32, err));
    CLOZE_TRY(tokenizer_save(c->tokenizer, dir, err));
    return classifier_save_settings(c, dir, err);
}

cloze_status classifier_save_settings(const classifier *c, const char *dir, cloze_error *err) {
    buf b;
    if (c->options.method == METHOD_PROMPT) CLOZE_TRY(write_prompt(c, dir, err));
    buf_init(&b, SMALL_FILE_MAX);
    label_set_write_json(&c->labels, &b);
    cloze_status status = write_text(dir, "verbalizer_config.json", &b, err);
    buf_deinit(&b);
    if (status != CLOZE_OK) return status;
    return write_settings(c, dir, err); /* last: a directory with it is whole */
}

/* ---- opening ---- */

static cloze_status find_settings(const char *dir, bool *found, cloze_error *err) {
    char *path = path_join(dir, CLASSIFIER_FILE);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    *found = file_exists(path);
    mem_free(path);
    return CLOZE_OK;
}

bool classifier_is_run_dir(const char *dir) {
    bool found;
    return (find_settings(dir, &found, NULL) == CLOZE_OK && found) || classifier_paddle_is_run(dir);
}

bool classifier_has_soft_verbalizer(const classifier *c) {
    return c->verbalizer && verbalizer_param(c->verbalizer);
}

static cloze_status read_choice(const cJSON *json, const char *key, const char *const names[2],
                                int *out, cloze_error *err) {
    const char *text = names[0];
    CLOZE_TRY(json_get_string(json, key, &text, err));
    for (int i = 0; i < 2; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return CLOZE_OK;
        }
    }
    CLOZE_FAIL(err, MODEL, "\"%s\" is \"%s\", not %s or %s", key, text, names[0], names[1]);
}

static cloze_status parse_settings(classifier *c, const cJSON *json, cloze_error *err) {
    int method = 0, kind = 0;
    int64_t length = c->options.max_seq_length, lower = c->options.do_lower_case;
    const char *text_field = NULL, *text_b_field = NULL;
    CLOZE_TRY(read_choice(json, "method", METHOD_NAMES, &method, err));
    CLOZE_TRY(read_choice(json, "verbalizer", VERBALIZER_NAMES, &kind, err));
    if (length <= 0) CLOZE_TRY(json_get_int(json, "max_seq_length", 1, 1 << 20, &length, err));
    if (lower < 0) CLOZE_TRY(json_get_int(json, "do_lower_case", -1, 1, &lower, err));
    CLOZE_TRY(json_get_bool(json, "truncate_left", &c->options.truncate_left, err));
    CLOZE_TRY(json_get_bool(json, "has_text_b", &c->options.has_text_b, err));
    CLOZE_TRY(json_get_bool(json, "first_generation", &c->options.first_generation, err));
    CLOZE_TRY(json_get_bool(json, "absolute_positions", &c->options.absolute_positions, err));
    CLOZE_TRY(json_get_string(json, "text_field", &text_field, err));
    CLOZE_TRY(json_get_string(json, "text_b_field", &text_b_field, err));
    c->options.method = (classifier_method)method;
    c->options.verbalizer = (verbalizer_kind)kind;
    c->options.max_seq_length = (int32_t)length;
    c->options.do_lower_case = (int)lower;
    return classifier_set_fields(c, text_field, text_b_field, err);
}

cloze_status classifier_blame_run(cloze_status status, const char *where, cloze_error *err) {
    if (status != CLOZE_ERR_USAGE && status != CLOZE_ERR_DATA && status != CLOZE_ERR_MODEL)
        return status;
    if (err) {
        err->code = CLOZE_ERR_MODEL;
        error_prefix(err, "%s", where);
    }
    return CLOZE_ERR_MODEL;
}

static cloze_status read_settings(classifier *c, const char *dir, cloze_error *err) {
    cJSON *json = NULL;
    char *path = path_join(dir, CLASSIFIER_FILE);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = json_parse_file(path, SMALL_FILE_MAX, CLOZE_ERR_MODEL, &json, err);
    if (status == CLOZE_OK) status = classifier_blame_run(parse_settings(c, json, err), path, err);
    json_destroy(json);
    mem_free(path);
    return status;
}

static cloze_status read_labels(classifier *c, const char *dir, cloze_error *err) {
    char *path = path_join(dir, "verbalizer_config.json"), *text = NULL;
    size_t n = 0;
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = file_read(path, SMALL_FILE_MAX, CLOZE_ERR_MODEL, &text, &n, err);
    if (status == CLOZE_OK)
        status = label_set_parse_json(text, n, path, CLOZE_ERR_MODEL, &c->labels, NULL, err);
    mem_free(text);
    mem_free(path);
    return status;
}

static cloze_status read_template(classifier *c, const char *dir, cloze_error *err) {
    char *path = path_join(dir, "template_config.json");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = template_read(path, &c->tmpl, err);
    if (status == CLOZE_OK)
        status = classifier_blame_run(template_check(&c->tmpl, CLOZE_ERR_MODEL, err), path, err);
    mem_free(path);
    return status;
}

static cloze_status read_param(param *p, const ckpt_tensor *t, const char *what,
                               cloze_error *err) {
    bool matrix = p->rank == 2;
    if (!t || t->rank != p->rank || t->shape[0] != (matrix ? p->w.t.rows : p->w.t.cols) ||
        (matrix && t->shape[1] != p->w.t.cols))
        CLOZE_FAIL(err, MODEL, "%s: no tensor %s of shape (%lld, %lld); is it of another run?",
                   what, p->name, (long long)p->w.t.rows, (long long)p->w.t.cols);
    p->w.version++;
    return ckpt_read_f32(t, p->w.t.data, (size_t)t->count, err);
}

cloze_status classifier_read_verbalizer(classifier *c, const ckpt *file, const char *what,
                                        cloze_error *err) {
    param *soft = verbalizer_param(c->verbalizer);
    const ckpt_tensor *bias = ckpt_find(file, "verbalizer.bias");
    CLOZE_TRY(read_param(soft, ckpt_find(file, soft->name), what, err));
    if (!bias) return CLOZE_OK;
    CLOZE_TRY(verbalizer_add_bias(c->verbalizer, err));
    return read_param(verbalizer_bias(c->verbalizer), bias, what, err);
}

static cloze_status read_soft_verbalizer(classifier *c, const char *dir, cloze_error *err) {
    if (!verbalizer_param(c->verbalizer)) return CLOZE_OK;
    ckpt *file = NULL;
    char *path = path_join(dir, "prompt.safetensors");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = ckpt_open(path, &file, err);
    if (status == CLOZE_OK) status = classifier_read_verbalizer(c, file, path, err);
    ckpt_close(file);
    mem_free(path);
    return status;
}

/* What follows from the files: encoders and verbalizer. */
static cloze_status finish(classifier *c, cloze_error *err) {
    CLOZE_TRY(classifier_check_length(c, err));
    if (c->options.method == METHOD_PROMPT) CLOZE_TRY(classifier_make_verbalizer(c, err));
    return classifier_make_encoders(c, err);
}

static cloze_status open_all(classifier *c, const char *dir, cloze_error *err) {
    bool own_length = c->options.max_seq_length > 0; /* then a wrong one is the caller's */
    CLOZE_TRY(read_settings(c, dir, err));
    CLOZE_TRY(read_labels(c, dir, err));
    tokenizer_options t = {c->options.do_lower_case};
    CLOZE_TRY(tokenizer_open(dir, &t, &c->tokenizer, err));
    bool prompt = c->options.method == METHOD_PROMPT;
    model_open_options o = {
        .head = prompt ? MODEL_HEAD_MASKED_LM : MODEL_HEAD_SEQUENCE_CLASSIFICATION,
        .require_head = true,
        .callbacks = c->options.callbacks,
    };
    CLOZE_TRY(model_open(dir, &o, &c->model, err));
    if (!prompt && model_get_config(c->model)->num_labels != c->labels.n)
        CLOZE_FAIL(err, MODEL, "%s: config.json has %lld labels but verbalizer_config.json %d", dir,
                   (long long)model_get_config(c->model)->num_labels, c->labels.n);
    if (prompt) CLOZE_TRY(read_template(c, dir, err));
    cloze_status status = finish(c, err);
    if (status != CLOZE_ERR_USAGE || !own_length) CLOZE_TRY(classifier_blame_run(status, dir, err));
    CLOZE_TRY(status);
    return prompt ? read_soft_verbalizer(c, dir, err) : CLOZE_OK;
}

/* A file of a run, the name of a pre-trained model, or nothing at all. */
static cloze_status fail_no_directory(const char *run_dir, cloze_error *err) {
    char *found = NULL;
    if (file_exists(run_dir))
        CLOZE_FAIL(err, MODEL, "%s: is a file; give the directory of the run that it is in",
                   run_dir);
    bool is_model = model_locate(run_dir, &found, NULL) == CLOZE_OK;
    mem_free(found);
    if (is_model)
        CLOZE_FAIL(
            err, MODEL,
            "%s is a pre-trained model and no trained classifier; train one from it: cloze train "
            "--model_name_or_path %s --output_dir RUN, and give RUN here",
            run_dir, run_dir);
    CLOZE_FAIL(err, MODEL,
               "%s: there is no such directory; give the output directory of a training run",
               run_dir);
}

cloze_status classifier_open(const char *run_dir, const classifier_options *options,
                             classifier **out, cloze_error *err) {
    classifier *c;
    bool found;
    *out = NULL;
    if (!file_is_dir(run_dir)) return fail_no_directory(run_dir, err);
    CLOZE_TRY(find_settings(run_dir, &found, err));
    bool paddle = !found && classifier_paddle_is_run(run_dir);
    if (!found && !paddle)
        CLOZE_FAIL(err, MODEL,
                   "%s: no trained classifier here (no " CLASSIFIER_FILE
                   "); give the output directory of a training run",
                   run_dir);
    MEM_NEW(err, c, 1);
    c->options = (classifier_options){.max_seq_length = options ? options->max_seq_length : 0,
                                      .do_lower_case = options ? options->do_lower_case : -1,
                                      .base_model = options ? options->base_model : NULL,
                                      .callbacks = options ? options->callbacks : NULL};
    cloze_status status =
        paddle ? classifier_paddle_open(c, run_dir, err) : open_all(c, run_dir, err);
    c->options.base_model = NULL; /* borrowed until here */
    if (status != CLOZE_OK) {
        classifier_destroy(c);
        return status;
    }
    *out = c;
    return CLOZE_OK;
}
