/* convert: finding the source, writing the parts of the target beside its place, checking, renaming. */
#include "deploy/convert.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "ckpt/paddle_names.h"
#include "deploy/convert_tensors.h"
#include "model/locate.h"
#include "model/paddle_config.h"
#include "text/tokenizer.h"
#include "train/classifier.h"

#define SHARD_BYTES ((uint64_t)50 << 30)

typedef struct conversion {
    const options *o;
    const cloze_callbacks *callbacks;
    convert_target target;
    char *dir, *tmp; /* the source; the output beside its place */
    model_config config;
    bool has_config;
    classifier *run; /* NULL: a model, not a trained run */
    ckpt *source, *prompt;
    convert_plan plan;
} conversion;

static void conversion_deinit(conversion *c) {
    convert_plan_deinit(&c->plan);
    ckpt_close(c->source);
    ckpt_close(c->prompt);
    classifier_destroy(c->run);
    if (c->has_config) model_config_deinit(&c->config);
    mem_free(c->dir);
    mem_free(c->tmp);
}

/* ---- the source ---- */

static const char *const DTYPE_NAMES[] = {"float32", "float16", "bfloat16"};
static const cloze_dtype DTYPES[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

static void read_target(conversion *c) {
    const options *o = c->o;
    c->target.format = strcmp(o->format, "torch") == 0    ? CONVERT_TORCH
                       : strcmp(o->format, "paddle") == 0 ? CONVERT_PADDLE
                                                          : CONVERT_SAFETENSORS;
    c->target.keep_dtype = true;
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++) {
        if (strcmp(o->dtype, DTYPE_NAMES[i]) != 0) continue;
        c->target.keep_dtype = false;
        c->target.dtype = DTYPES[i];
    }
}

/* The output must be a new place. */
static cloze_status check_output(const conversion *c, cloze_error *err) {
    const char *out = c->o->output_dir;
    char **names = NULL;
    size_t n = 0;
    if (!OPTION_IS_SET(c->o, output_dir))
        CLOZE_FAIL(err, USAGE, "--output_dir DIR is missing: where the converted files go");
    if (path_is_same(c->dir, out))
        CLOZE_FAIL(err, USAGE, "--output_dir %s is the model itself; it would be overwritten", out);
    if (!file_is_dir(out)) {
        if (file_exists(out))
            CLOZE_FAIL(err, USAGE, "--output_dir %s is a file; name a new directory", out);
        return CLOZE_OK;
    }
    CLOZE_TRY(dir_list(out, &names, &n, err));
    dir_list_free(names, n);
    if (n > 0)
        CLOZE_FAIL(err, USAGE, "--output_dir %s is not empty; name a new directory", out);
    return CLOZE_OK;
}

/* A trained run is opened whole, so that what is converted is known to work. */
static cloze_status open_run(conversion *c, cloze_error *err) {
    classifier_options o = {.do_lower_case = -1, .callbacks = c->callbacks,
                            .base_model = c->o->base_model};
    CLOZE_TRY(classifier_open(c->dir, &o, &c->run, err));
    CLOZE_TRY(model_config_copy(model_get_config(classifier_model(c->run)), &c->config, err));
    c->has_config = true;
    return CLOZE_OK;
}

static cloze_status open_source(conversion *c, cloze_error *err) {
    if (!c->o->model) CLOZE_FAIL(err, USAGE, "--model DIR is missing: the model to convert");
    CLOZE_TRY(model_locate(c->o->model, &c->dir, err));
    CLOZE_TRY(check_output(c, err));
    if (classifier_is_run_dir(c->dir)) {
        CLOZE_TRY(open_run(c, err));
    } else {
        CLOZE_TRY(model_config_read(c->dir, &c->config, err));
        c->has_config = true;
    }
    return ckpt_open_model(c->dir, &c->source, err);
}

/* ---- the target ---- */

static cloze_status write_file(const conversion *c, const char *name, const char *text, size_t n,
                               cloze_error *err) {
    char *path = path_join(c->tmp, name);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory writing %s", name);
    cloze_status status = file_write_atomic(path, text, n, err);
    mem_free(path);
    return status;
}

/* The dtype of the floats in the target: of the first matrix. */
static const char *target_dtype(const conversion *c) {
    for (size_t i = 0; i < c->plan.n; i++)
        for (size_t k = 0; k < sizeof DTYPES / sizeof *DTYPES; k++)
            if (c->plan.items[i].rank == 2 && c->plan.items[i].dtype == DTYPES[k])
                return DTYPE_NAMES[k];
    return DTYPE_NAMES[0];
}

static bool has_tensor(const conversion *c, const char *part) {
    for (size_t i = 0; i < c->plan.n; i++)
        if (strstr(c->plan.entries[i].name, part)) return true;
    return false;
}

/* The class by which both libraries' Auto classes know what the weights are, where none is named. */
static cloze_status name_architecture(const conversion *c, cJSON *json, cloze_error *err) {
    if (cJSON_GetObjectItemCaseSensitive(json, "architectures")) return CLOZE_OK;
    model_head head = MODEL_HEAD_NONE;
    if (has_tensor(c, "cls.predictions.") || has_tensor(c, "lm_head."))
        head = MODEL_HEAD_MASKED_LM;
    else if (has_tensor(c, "classifier."))
        head = MODEL_HEAD_SEQUENCE_CLASSIFICATION;
    cJSON *list = cJSON_CreateStringArray(&c->config.def->architectures[head], 1);
    if (list && cJSON_AddItemToObject(json, "architectures", list)) return CLOZE_OK;
    cJSON_Delete(list);
    CLOZE_FAIL(err, MEMORY, "out of memory for the model configuration");
}

static cloze_status fill_config(const conversion *c, cJSON *json, cloze_error *err) {
    const char *dtype = target_dtype(c);
    CLOZE_TRY(name_architecture(c, json, err));
    if (c->target.format == CONVERT_PADDLE)
        return paddle_config_from_hugging_face(json, c->dir, dtype, err);
    cJSON_DeleteItemFromObjectCaseSensitive(json, "dtype");
    cJSON_DeleteItemFromObjectCaseSensitive(json, "torch_dtype");
    if (!cJSON_AddStringToObject(json, "torch_dtype", dtype))
        CLOZE_FAIL(err, MEMORY, "out of memory for the model configuration");
    return CLOZE_OK;
}

static cloze_status write_config(const conversion *c, cloze_error *err) {
    cJSON *json = cJSON_Duplicate(c->config.json, 1);
    cloze_status status = json ? fill_config(c, json, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    char *text = status == CLOZE_OK ? json_print(json) : NULL;
    if (status == CLOZE_OK)
        status = text ? write_file(c, "config.json", text, strlen(text), err)
                      : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    mem_free(text);
    cJSON_Delete(json);
    if (c->target.format == CONVERT_PADDLE && strcmp(c->config.model_type, "ernie") == 0 &&
        c->config.layer_norm_eps != 1e-12)
        log_line(c->callbacks, CLOZE_LOG_WARN,
                 "layer_norm_eps is %g, but PaddleNLP computes ERNIE's norms with 1e-12 whatever "
                 "config.json says: results differ in the last digits",
                 c->config.layer_norm_eps);
    return status;
}

static cloze_status write_weights(const conversion *c, cloze_error *err) {
    const convert_plan *p = &c->plan;
    if (c->target.format == CONVERT_SAFETENSORS)
        return safetensors_write_sharded(c->tmp, p->items, p->n, NULL, 0, SHARD_BYTES, err);
    bool torch = c->target.format == CONVERT_TORCH;
    char *path = path_join(c->tmp, torch ? "pytorch_model.bin" : "model_state.pdparams");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory writing the weights");
    cloze_status status = torch ? torch_write(path, p->items, p->n, err)
                                : paddle_write(path, p->items, p->n, err);
    mem_free(path);
    return status;
}

/* verbalizer_state.pdparams: the verbalizer's part of the weights again, as PaddleNLP has it. */
static cloze_status write_verbalizer_state(const conversion *c, cloze_error *err) {
    static const char PREFIX[] = "verbalizer.";
    ckpt_item *items;
    size_t n = 0;
    MEM_NEW(err, items, c->plan.n);
    for (size_t i = 0; i < c->plan.n; i++) {
        if (strncmp(c->plan.items[i].name, PREFIX, sizeof PREFIX - 1) != 0) continue;
        items[n] = c->plan.items[i];
        items[n++].name += sizeof PREFIX - 1;
    }
    char *path = path_join(c->tmp, "verbalizer_state.pdparams");
    cloze_status status = path ? paddle_write(path, items, n, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    mem_free(path);
    mem_free(items);
    return status;
}

static cloze_status write_tokenizer(const conversion *c, cloze_error *err) {
    tokenizer *tok = NULL;
    cloze_error problem = {0};
    if (tokenizer_open(c->dir, NULL, &tok, &problem) != CLOZE_OK) {
        log_line(c->callbacks, CLOZE_LOG_WARN, "no tokenizer is carried along: %s",
                 problem.message);
        return CLOZE_OK;
    }
    cloze_status status = tokenizer_save(tok, c->tmp, err);
    tokenizer_destroy(tok);
    return status;
}

/* The soft verbalizer's tensors, written first so that all formats take them from one place. */
static cloze_status open_prompt(conversion *c, cloze_error *err) {
    char *path = path_join(c->tmp, "prompt.safetensors");
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = ckpt_open(path, &c->prompt, err);
    mem_free(path);
    return status;
}

static cloze_status write_all(conversion *c, cloze_error *err) {
    if (c->run) {
        CLOZE_TRY(classifier_save_settings(c->run, c->tmp, err));
        c->target.soft_run =
            c->target.format == CONVERT_PADDLE && classifier_has_soft_verbalizer(c->run);
    }
    if (c->target.soft_run) CLOZE_TRY(open_prompt(c, err));
    CLOZE_TRY(convert_plan_make(c->source, c->prompt, &c->config, &c->target, &c->plan, err));
    CLOZE_TRY(write_weights(c, err));
    CLOZE_TRY(write_config(c, err));
    CLOZE_TRY(write_tokenizer(c, err));
    if (c->target.soft_run) CLOZE_TRY(write_verbalizer_state(c, err));
    CLOZE_TRY(convert_plan_verify(&c->plan, c->tmp, err));
    return dir_sync(c->tmp, err);
}

static cloze_status finish(const conversion *c, cloze_error *err) {
    if (file_is_dir(c->o->output_dir) && rmdir(c->o->output_dir) != 0)
        CLOZE_FAIL(err, IO, "%s is in the way and cannot be replaced", c->o->output_dir);
    return path_rename(c->tmp, c->o->output_dir, err);
}

static void report(const conversion *c, buf *results) {
    int64_t parameters = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < c->plan.n; i++) {
        parameters += c->plan.entries[i].original->count;
        bytes += (uint64_t)c->plan.entries[i].original->count * dtype_size(c->plan.items[i].dtype);
    }
    buf_puts(results, "{\n  \"output_dir\": ");
    buf_json_string(results, c->o->output_dir, strlen(c->o->output_dir));
    buf_printf(results,
               ",\n  \"format\": \"%s\",\n  \"dtype\": \"%s\",\n  \"tensors\": %zu,\n"
               "  \"parameters\": %lld,\n  \"bytes\": %llu\n}\n",
               c->o->format, target_dtype(c), c->plan.n, (long long)parameters,
               (unsigned long long)bytes);
    log_line(c->callbacks, CLOZE_LOG_INFO,
             "%zu tensors written to %s, read back and compared: all the same", c->plan.n,
             c->o->output_dir);
}

/* OUT.tmp beside OUT, emptied of what a killed conversion left. */
static cloze_status make_place(conversion *c, cloze_error *err) {
    buf b;
    buf_init(&b, 1 << 16);
    size_t n = strlen(c->o->output_dir);
    while (n > 1 && c->o->output_dir[n - 1] == '/') n--;
    buf_printf(&b, "%.*s.tmp", (int)n, c->o->output_dir);
    c->tmp = buf_take(&b);
    if (!c->tmp) CLOZE_FAIL(err, MEMORY, "out of memory");
    CLOZE_TRY(dir_remove(c->tmp, err));
    return dir_create(c->tmp, err);
}

cloze_status convert_run(options *o, const cloze_callbacks *callbacks, buf *results,
                         cloze_error *err) {
    conversion c = {.o = o, .callbacks = callbacks};
    read_target(&c);
    cloze_status status = open_source(&c, err);
    if (status == CLOZE_OK) status = make_place(&c, err);
    if (status == CLOZE_OK) {
        status = write_all(&c, err);
        if (status == CLOZE_OK) status = finish(&c, err);
        if (status == CLOZE_OK) report(&c, results);
        if (status != CLOZE_OK) (void)dir_remove(c.tmp, NULL);
    }
    conversion_deinit(&c);
    return status;
}
