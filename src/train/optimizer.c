/* Steps of AdamW, and its moments in a file. */
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "ckpt/checkpoint_write.h"

#define OPTIMIZER_FILE "optimizer.safetensors"
#define NAME_SIZE 512

/* ---- a step ---- */

/* torch.nn.utils.clip_grad_norm_: the factor that every gradient is multiplied by. */
static cloze_status clip_scale(param_block *b, const backend *be, backend_device *dev,
                               const options *o, int64_t step, double *scale, cloze_error *err) {
    double norm = 0;
    *scale = 1;
    if (!(o->max_grad_norm > 0)) return CLOZE_OK;
    CLOZE_TRY(param_block_grad_norm(b, be, dev, &norm, err));
    if (!isfinite(norm))
        CLOZE_FAIL(err, NONFINITE,
                   "the gradient became non-finite at step %lld; try a smaller --learning_rate "
                   "(now %g)",
                   (long long)step, o->learning_rate);
    *scale = o->max_grad_norm / (norm + 1e-6);
    if (*scale > 1) *scale = 1;
    return CLOZE_OK;
}

cloze_status optimizer_step(param_block *b, const backend *be, backend_device *dev,
                            const options *o, const optimizer_rates *rates, int64_t step,
                            cloze_error *err) {
    double scale;
    backend_mark(be, dev, PHASE_UPDATE);
    CLOZE_TRY(clip_scale(b, be, dev, o, step, &scale, err));
    const adamw_spec specs[2] = {
        {(float)rates->model, (float)o->adam_beta1, (float)o->adam_beta2, (float)o->adam_epsilon,
         (float)o->weight_decay, (float)scale, step},
        {(float)rates->prompt, (float)o->ppt_adam_beta1, (float)o->ppt_adam_beta2,
         (float)o->ppt_adam_epsilon, (float)o->ppt_weight_decay, (float)scale, step},
    };
    CLOZE_TRY(param_block_adamw(b, be, dev, specs, err));
    param_block_zero_grad(b);
    backend_mark(be, dev, PHASE_OUTSIDE);
    return CLOZE_OK;
}

/* ---- saving ---- */

static ckpt_item moment_item(const char *name, const param *p, const float *data) {
    return (ckpt_item){.name = name,
                       .dtype = DTYPE_F32,
                       .rank = 2,
                       .shape = {p->w.t.rows, p->w.t.cols},
                       .data = data,
                       .from_f32 = true};
}

/* Up to three tensors a parameter; names live in the arena. */
static cloze_status collect(const param_block *b, arena *names, ckpt_item *items, size_t *n,
                            cloze_error *err) {
    param *const *params;
    int count = param_block_params(b, &params);
    for (int i = 0; i < count; i++) {
        const param *p = params[i];
        size_t size = strlen(p->name) + 8;
        char *m = arena_alloc(names, size), *v = arena_alloc(names, size),
             *seen = arena_alloc(names, size);
        if (!m || !v || !seen) CLOZE_FAIL(err, MEMORY, "out of memory for the optimizer state");
        snprintf(m, size, "m.%s", p->name);
        snprintf(v, size, "v.%s", p->name);
        items[(*n)++] = moment_item(m, p, p->m);
        items[(*n)++] = moment_item(v, p, p->v);
        if (!p->row_state) continue;
        snprintf(seen, size, "seen.%s", p->name);
        items[(*n)++] = (ckpt_item){.name = seen,
                                    .dtype = DTYPE_U8,
                                    .rank = 1,
                                    .shape = {p->w.t.rows},
                                    .data = p->row_state};
    }
    return CLOZE_OK;
}

cloze_status optimizer_save(const param_block *b, const char *dir, cloze_error *err) {
    param *const *params;
    arena names;
    ckpt_item *items;
    size_t n = 0;
    int count = param_block_params(b, &params);
    MEM_NEW(err, items, 3 * count + 1);
    arena_init(&names, 1 << 16);
    char *path = path_join(dir, OPTIMIZER_FILE);
    cloze_status status = path ? collect(b, &names, items, &n, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = safetensors_write(path, items, n, NULL, 0, err);
    mem_free(path);
    mem_free(items);
    arena_deinit(&names);
    return status;
}

/* ---- loading ---- */

static cloze_status find(const ckpt *file, const char *path, const char *kind, const param *p,
                         cloze_dtype dtype, const ckpt_tensor **out, cloze_error *err) {
    char name[NAME_SIZE];
    bool vector = dtype == DTYPE_U8; /* a byte for each row */
    if ((size_t)snprintf(name, sizeof name, "%s.%s", kind, p->name) >= sizeof name)
        CLOZE_FAIL(err, MODEL, "%s: a parameter's name is too long: %.60s...", path, p->name);
    const ckpt_tensor *t = ckpt_find(file, name);
    if (!t)
        CLOZE_FAIL(err, MODEL,
                   "%s: no tensor %s, which is trained now; is the checkpoint of another method?",
                   path, name);
    if (t->dtype != dtype || t->rank != (vector ? 1 : 2) || t->shape[0] != p->w.t.rows ||
        (!vector && t->shape[1] != p->w.t.cols) || !t->contiguous) {
        char shape[128];
        CLOZE_FAIL(err, MODEL, "%s: %s is %s %s, not of the model's shape (%lld, %lld)", path, name,
                   dtype_name(t->dtype), ckpt_shape_text(t, shape, sizeof shape),
                   (long long)p->w.t.rows, (long long)p->w.t.cols);
    }
    *out = t;
    return CLOZE_OK;
}

/* Only rows that were seen are read: pages of the others need not exist. */
static void load_lazy(param *p, const ckpt_tensor *m, const ckpt_tensor *v, const uint8_t *seen) {
    size_t row = (size_t)p->w.t.cols * sizeof(float);
    for (int64_t r = 0; r < p->w.t.rows; r++) {
        p->row_state[r] = seen[r] & PARAM_ROW_SEEN;
        if (!p->row_state[r]) continue;
        memcpy(p->m + r * p->w.t.cols, (const char *)m->data + (size_t)r * row, row);
        memcpy(p->v + r * p->w.t.cols, (const char *)v->data + (size_t)r * row, row);
    }
}

static cloze_status load_param(param *p, const ckpt *file, const char *path, size_t *used,
                               cloze_error *err) {
    const ckpt_tensor *m, *v, *seen;
    CLOZE_TRY(find(file, path, "m", p, DTYPE_F32, &m, err));
    CLOZE_TRY(find(file, path, "v", p, DTYPE_F32, &v, err));
    *used += 2;
    if (!p->row_state) {
        CLOZE_TRY(ckpt_read_f32(m, p->m, (size_t)m->count, err));
        return ckpt_read_f32(v, p->v, (size_t)v->count, err);
    }
    CLOZE_TRY(find(file, path, "seen", p, DTYPE_U8, &seen, err));
    ++*used;
    load_lazy(p, m, v, seen->data);
    return CLOZE_OK;
}

static cloze_status load_all(param_block *b, const ckpt *file, const char *path, cloze_error *err) {
    param *const *params;
    size_t used = 0;
    int count = param_block_params(b, &params);
    for (int i = 0; i < count; i++) CLOZE_TRY(load_param(params[i], file, path, &used, err));
    if (used != ckpt_count(file))
        CLOZE_FAIL(err, MODEL,
                   "%s: it has %zu tensors, but %zu are of what is trained now; is the checkpoint "
                   "of another method?",
                   path, ckpt_count(file), used);
    return CLOZE_OK;
}

cloze_status optimizer_load(param_block *b, const char *dir, cloze_error *err) {
    ckpt *file = NULL;
    char *path = path_join(dir, OPTIMIZER_FILE);
    cloze_status status =
        path ? ckpt_open(path, &file, err) : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = load_all(b, file, path, err);
    ckpt_close(file);
    mem_free(path);
    return status;
}
