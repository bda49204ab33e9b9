/* Writing and pruning checkpoint-N directories. */
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ckpt/checkpoint_write.h"

/* ---- optimizer state ---- */

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

static cloze_status save_optimizer(const param_block *b, const char *dir, cloze_error *err) {
    param *const *params;
    arena names;
    ckpt_item *items;
    size_t n = 0;
    int count = param_block_params(b, &params);
    MEM_NEW(err, items, 3 * count + 1);
    arena_init(&names, 1 << 16);
    char *path = path_join(dir, "optimizer.safetensors");
    cloze_status status = path ? collect(b, &names, items, &n, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = safetensors_write(path, items, n, NULL, 0, err);
    mem_free(path);
    mem_free(items);
    arena_deinit(&names);
    return status;
}

/* ---- the directory ---- */

static cloze_status fill(const checkpoint_source *s, const char *dir, cloze_error *err) {
    CLOZE_TRY(dir_remove(dir, err));
    CLOZE_TRY(dir_create(dir, err));
    CLOZE_TRY(classifier_save(s->c, dir, err));
    if (s->block) CLOZE_TRY(save_optimizer(s->block, dir, err));
    CLOZE_TRY(trainer_state_write(s->state, dir, err));
    buf args;
    buf_init(&args, 1 << 20);
    options_write_json(s->options, &args);
    cloze_status status = state_write_file(dir, "training_args.json", &args, err);
    buf_deinit(&args);
    if (status != CLOZE_OK) return status;
    return dir_sync(dir, err);
}

cloze_status checkpoint_publish(const char *tmp, const char *path, cloze_error *err) {
    if (!file_is_dir(path)) return path_rename(tmp, path, err);
    buf old;
    buf_init(&old, 65536);
    buf_printf(&old, "%s.old.tmp", path);
    cloze_status status = buf_ok(&old) ? dir_remove(old.data, err)
                                       : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = path_rename(path, old.data, err);
    if (status == CLOZE_OK) status = path_rename(tmp, path, err);
    if (status == CLOZE_OK) status = dir_remove(old.data, err);
    buf_deinit(&old);
    return status;
}

cloze_status checkpoint_save(const checkpoint_source *source, const char *output_dir,
                             cloze_error *err) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)source->state->global_step);
    char *path = path_join(output_dir, name);
    snprintf(name, sizeof name, "checkpoint-%lld.tmp", (long long)source->state->global_step);
    char *tmp = path_join(output_dir, name);
    cloze_status status =
        path && tmp ? CLOZE_OK : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = fill(source, tmp, err);
    if (status == CLOZE_OK) status = checkpoint_publish(tmp, path, err);
    mem_free(path);
    mem_free(tmp);
    return status;
}

/* The N of checkpoint-N, or -1 for another name (checkpoint-N.tmp too). */
static int64_t checkpoint_step(const char *name) {
    char *end;
    if (strncmp(name, "checkpoint-", 11) != 0 || name[11] < '0' || name[11] > '9') return -1;
    long long step = strtoll(name + 11, &end, 10);
    return *end ? -1 : step;
}

bool checkpoint_is_scheduled(const options *o, const char *path) {
    int64_t step = checkpoint_step(path_base(path));
    if (strcmp(o->save_strategy, "steps") == 0) return step % o->save_steps == 0;
    return strcmp(o->save_strategy, "epoch") == 0;
}

static int by_step(const void *a, const void *b) {
    int64_t x = checkpoint_step(*(char *const *)a), y = checkpoint_step(*(char *const *)b);
    return (x > y) - (x < y);
}

cloze_status checkpoint_prune(const char *output_dir, int64_t limit, int64_t newest,
                              const char *keep, cloze_error *err) {
    char **names;
    size_t n, kept = 0;
    CLOZE_TRY(dir_list(output_dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        int64_t step = checkpoint_step(names[i]);
        if (step < 0 || step > newest) continue; /* beyond: of an earlier run in this directory */
        char *swap = names[kept];
        names[kept++] = names[i];
        names[i] = swap;
    }
    qsort(names, kept, sizeof *names, by_step);
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i + (size_t)limit < kept && status == CLOZE_OK; i++) {
        if (keep && strcmp(names[i], path_base(keep)) == 0) continue;
        char *path = path_join(output_dir, names[i]);
        status = path ? dir_remove(path, err) : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
        mem_free(path);
    }
    dir_list_free(names, n);
    return status;
}
