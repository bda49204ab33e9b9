/*
 * Opening a model directory: parameters become views of the mapped checkpoint where its layout
 * allows (a whole, contiguous, aligned matrix in f32, bf16 or f16) and f32 copies elsewhere
 * (vectors, a fused QKV).
 */
#include "model/load.h"

#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "ckpt/name_map.h"
#include "ckpt/paddle_names.h"

/* The entries of one parameter with the tensors found for them. */
typedef struct found {
    const nn_entry *entries[8];
    const ckpt_tensor *tensors[8];
    int n, n_missing;
} found;

static cloze_status check_shape(const nn_entry *e, const ckpt_tensor *t, cloze_error *err) {
    char text[128];
    const param *p = e->param;
    bool ok = p->rank == 1
                  ? t->rank == 1 && t->shape[0] == (p->w.t.rows == 1 ? e->rows : p->w.t.cols)
                  : t->rank == 2 && t->shape[0] == e->rows && t->shape[1] == p->w.t.cols;
    if (ok && dtype_is_float(t->dtype)) return CLOZE_OK;
    if (ok)
        CLOZE_FAIL(err, MODEL, "%s: tensor %s holds %s, not floating-point numbers", t->file,
                   t->name, dtype_name(t->dtype));
    if (p->rank == 1)
        CLOZE_FAIL(err, MODEL, "%s: tensor %s has shape %s, config.json asks for (%lld)", t->file,
                   t->name, ckpt_shape_text(t, text, sizeof text), (long long)e->rows);
    CLOZE_FAIL(err, MODEL, "%s: tensor %s has shape %s, config.json asks for (%lld, %lld)", t->file,
               t->name, ckpt_shape_text(t, text, sizeof text), (long long)e->rows,
               (long long)p->w.t.cols);
}

static bool can_map(const found *f, const param *p) {
    const ckpt_tensor *t = f->tensors[0];
    return f->n == 1 && p->rank == 2 && t->contiguous && t->aligned &&
           (t->dtype == DTYPE_F32 || t->dtype == DTYPE_BF16 || t->dtype == DTYPE_F16);
}

/* Tensors that are copied, for all of them at once on all cores: page faults and conversion take
 * most of the time of opening a model. */
typedef struct copy_list {
    const ckpt_tensor **from; /* (n) */
    float **to;               /* (n) */
    int n;
} copy_list;

static cloze_status copy_list_init(copy_list *l, int most, cloze_error *err) {
    *l = (copy_list){0};
    MEM_NEW(err, l->from, most);
    MEM_NEW(err, l->to, most);
    return CLOZE_OK;
}

static void copy_list_deinit(copy_list *l) {
    mem_free(l->from);
    mem_free(l->to);
}

static cloze_status copy_list_run(const copy_list *l, cloze_error *err) {
    cloze_status status = CLOZE_OK;
#pragma omp parallel for schedule(dynamic, 1)
    for (int i = 0; i < l->n; i++) {
        cloze_error own = {0};
        cloze_status s = ckpt_read_f32(l->from[i], l->to[i], (size_t)l->from[i]->count, &own);
        ckpt_advise_dontneed(l->from[i]);
        if (s == CLOZE_OK) continue;
#pragma omp critical(model_copy)
        {
            if (status == CLOZE_OK && err) *err = own;
            if (status == CLOZE_OK) status = s;
        }
    }
    return status;
}

static cloze_status load_param(param *p, const found *f, copy_list *copies, cloze_error *err) {
    int64_t rows = p->w.t.rows, cols = p->w.t.cols;
    for (int i = 0; i < f->n; i++) CLOZE_TRY(check_shape(f->entries[i], f->tensors[i], err));
    p->w.version++;
    if (can_map(f, p)) {
        p->w.t = tensor_of((void *)f->tensors[0]->data, f->tensors[0]->dtype, rows, cols);
        return CLOZE_OK;
    }
    float *values = mem_alloc((size_t)(rows * cols) * sizeof *values);
    if (!values) CLOZE_FAIL(err, MEMORY, "out of memory for %s", p->name);
    mem_map_dense(values, (size_t)(rows * cols) * sizeof *values);
    p->owned = values;
    p->w.t = tensor_of(values, DTYPE_F32, rows, cols);
    for (int i = 0; i < f->n; i++) {
        int64_t begin = p->rank == 1 ? f->entries[i]->row_begin : f->entries[i]->row_begin * cols;
        copies->from[copies->n] = f->tensors[i];
        copies->to[copies->n++] = values + begin;
    }
    return CLOZE_OK;
}

static cloze_status find_entries(const model *m, param *p, name_map *names, found *f,
                                 cloze_error *err) {
    memset(f, 0, sizeof *f);
    for (int i = 0; i < m->state.n_entries; i++) {
        const nn_entry *e = &m->state.entries[i];
        if (e->param != p) continue;
        if (f->n == 8) CLOZE_FAIL(err, INTERNAL, "%s holds more than 8 tensors", p->name);
        f->entries[f->n] = e;
        f->tensors[f->n] = name_map_find(names, e->name);
        if (!f->tensors[f->n]) f->n_missing++;
        f->n++;
    }
    return CLOZE_OK;
}

/* A head whose shape the checkpoint has for other labels counts as absent when labels were given.
 */
static bool is_other_classifier(const model_open_options *o, const found *f) {
    const nn_entry *e = f->entries[0];
    return o->num_labels > 0 && !o->require_head && f->n == 1 && !f->n_missing && e->head &&
           strncmp(e->name, "classifier", 10) == 0 && f->tensors[0]->shape[0] != e->rows &&
           (e->param->rank == 1 || f->tensors[0]->shape[1] == e->param->w.t.cols);
}

static void report(const model_open_options *o, const char *dir, const buf *fresh,
                   const name_map *names) {
    if (fresh->len)
        log_line(o->callbacks, CLOZE_LOG_INFO,
                 "%s: newly initialised: %s (they are trained from here)", dir, fresh->data);
    if (name_map_unexpected_count(names) > 0) {
        buf text;
        buf_init(&text, 4096);
        name_map_describe(names, &text);
        if (text.len)
            log_line(o->callbacks, fresh->len ? CLOZE_LOG_DEBUG : CLOZE_LOG_INFO,
                     "%s: %s, not used", dir, text.data);
        buf_deinit(&text);
    }
}

static cloze_status load_all(model *m, const char *dir, const model_open_options *o,
                             name_map *names, cloze_error *err) {
    buf fresh, missing;
    found f;
    copy_list copies;
    bool body_missing = false, has_head = false;
    cloze_status status = copy_list_init(&copies, m->state.n_entries, err);
    buf_init(&fresh, 4096);
    buf_init(&missing, 600);
    for (int i = 0; i < m->state.n_params && status == CLOZE_OK; i++) {
        param *p = m->state.params[i];
        status = find_entries(m, p, names, &f, err);
        if (status != CLOZE_OK) break;
        has_head = has_head || (f.entries[0]->head && f.n_missing < f.n);
        bool fresh_head = f.entries[0]->head && (f.n_missing == f.n || is_other_classifier(o, &f));
        if (fresh_head && !o->require_head) {
            buf_printf(&fresh, "%s%s", fresh.len ? ", " : "", f.entries[0]->name);
            status = model_initialize_param(m, i, o->seed, err);
        } else if (f.n_missing) {
            body_missing = body_missing || !f.entries[0]->head;
            for (int k = 0; k < f.n; k++)
                if (!f.tensors[k])
                    buf_printf(&missing, "%s%s", missing.len ? ", " : "", f.entries[k]->name);
        } else {
            status = load_param(p, &f, &copies, err);
        }
    }
    if (status == CLOZE_OK && missing.len && !body_missing && !has_head)
        status = error_set(err, CLOZE_ERR_MODEL,
                           "%s: there is no %s in it (it lacks %.300s%s); it was trained for "
                           "something else or saved "
                           "without: give the model that it was made from",
                           dir,
                           o->head == MODEL_HEAD_MASKED_LM ? "masked language model head"
                                                           : "classification head",
                           missing.data, missing.failed || missing.len > 300 ? " ..." : "");
    else if (status == CLOZE_OK && missing.len)
        status = error_set(
            err, CLOZE_ERR_MODEL,
            "%s: tensors are missing: %.400s%s (is config.json the one of this checkpoint?)", dir,
            missing.data, missing.failed || missing.len > 400 ? " ..." : "");
    if (status == CLOZE_OK) status = copy_list_run(&copies, err);
    if (status == CLOZE_OK) report(o, dir, &fresh, names);
    copy_list_deinit(&copies);
    buf_deinit(&fresh);
    buf_deinit(&missing);
    return status;
}

/* An untied decoder in config.json's eyes may still be stored tied: then the word embeddings are
 * it. */
static cloze_status open_checkpoint(model *m, const char *dir, const model_open_options *o,
                                    cloze_error *err) {
    name_map *names = NULL;
    CLOZE_TRY(ckpt_open_model(dir, &m->checkpoint, err));
    cloze_status status = name_map_create(m->checkpoint, m->config.def->base, &names, err);
    if (status == CLOZE_OK) status = load_all(m, dir, o, names, err);
    name_map_destroy(names);
    return status;
}

cloze_status model_open(const char *dir, const model_open_options *options, model **out,
                        cloze_error *err) {
    model_config config = {0};
    *out = NULL;
    if (!file_is_dir(dir))
        CLOZE_FAIL(err, MODEL,
                   "%s: no such model directory (it should hold config.json, a vocabulary and "
                   "model.safetensors or pytorch_model.bin)",
                   dir);
    CLOZE_TRY(options->config ? model_config_copy(options->config, &config, err)
                              : model_config_read(dir, &config, err));
    cloze_status status = CLOZE_OK;
    model *m = NULL;
    if (options->num_labels > 0)
        status = model_config_set_labels(&config, options->labels, options->num_labels, err);
    if (options->n_layers > 0 && options->n_layers < config.num_hidden_layers)
        config.num_hidden_layers = options->n_layers;
    if (status == CLOZE_OK) status = model_build(&config, options->head, &m, err);
    model_config_deinit(&config);
    if (status == CLOZE_OK) status = open_checkpoint(m, dir, options, err);
    if (status != CLOZE_OK) {
        model_destroy(m);
        return status;
    }
    *out = m;
    return CLOZE_OK;
}
