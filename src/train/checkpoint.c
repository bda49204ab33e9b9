/* Writing, finding and pruning checkpoint-N directories. */
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* No longer path can be opened. Questions with a yes or a no must not depend on free memory. */
#define PATH_SIZE 4096

/* ---- writing ---- */

static cloze_status fill(const checkpoint_source *s, const char *dir, cloze_error *err) {
    CLOZE_TRY(dir_remove(dir, err));
    CLOZE_TRY(dir_create(dir, err));
    CLOZE_TRY(s->save_model(s->model, dir, err));
    CLOZE_TRY(optimizer_save(s->block, dir, err));
    CLOZE_TRY(trainer_state_write(s->state, dir, err));
    CLOZE_TRY(trainer_state_write_resume(s->state, dir, err));
    buf args;
    buf_init(&args, 1 << 20);
    options_write_json(s->options, &args);
    cloze_status status = state_write_file(dir, "training_args.json", &args, err);
    buf_deinit(&args);
    if (status != CLOZE_OK) return status;
    return dir_sync(dir, err);
}

/* Renames a finished tmp to path. An earlier path (of the same step) makes room at once and is then
 * removed. */
static cloze_status publish(const char *tmp, const char *path, cloze_error *err) {
    if (!file_is_dir(path)) return path_rename(tmp, path, err);
    CLOZE_TRY(path_exchange(tmp, path, err));
    return dir_remove(tmp, err);
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
    if (status == CLOZE_OK) {
        status = fill(source, tmp, err);
        if (status == CLOZE_OK) status = publish(tmp, path, err);
        if (status != CLOZE_OK) dir_remove(tmp, NULL); /* a full disk has better uses */
    }
    mem_free(path);
    mem_free(tmp);
    return status;
}

/* ---- names ---- */

int64_t checkpoint_step(const char *path) {
    const char *name = path_base(path);
    char *end;
    if (strncmp(name, "checkpoint-", 11) != 0 || name[11] < '0' || name[11] > '9') return -1;
    long long step = strtoll(name + 11, &end, 10);
    return *end ? -1 : step;
}

bool checkpoint_is_scheduled(const options *o, const char *path) {
    if (strcmp(o->save_strategy, "steps") == 0) return checkpoint_step(path) % o->save_steps == 0;
    return strcmp(o->save_strategy, "epoch") == 0;
}

bool checkpoint_is_within(const char *path, const char *dir) {
    char parent[PATH_SIZE];
    size_t n = strlen(path) - strlen(path_base(path));
    if (n + 2 > sizeof parent) return false;
    memcpy(parent, path, n);
    memcpy(parent + n, ".", 2);
    return path_is_same(parent, dir);
}

bool checkpoint_is(const char *path) {
    char state[PATH_SIZE];
    int n = snprintf(state, sizeof state, "%s/resume_state.json", path);
    return n > 0 && (size_t)n < sizeof state && file_exists(state);
}

cloze_status checkpoint_find_newest(const char *dir, char **path, cloze_error *err) {
    char **names;
    size_t n;
    const char *newest = NULL;
    *path = NULL;
    if (!file_is_dir(dir)) return CLOZE_OK;
    CLOZE_TRY(dir_list(dir, &names, &n, err));
    for (size_t i = 0; i < n; i++)
        if (checkpoint_step(names[i]) > (newest ? checkpoint_step(newest) : -1)) newest = names[i];
    cloze_status status = CLOZE_OK;
    if (newest && !(*path = path_join(dir, newest)))
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    dir_list_free(names, n);
    return status;
}

/* ---- removing ---- */

cloze_status checkpoint_remove(const char *path, cloze_error *err) {
    buf tmp;
    buf_init(&tmp, 65536);
    buf_printf(&tmp, "%s.tmp", path);
    cloze_status status = buf_ok(&tmp) ? dir_remove(tmp.data, err)
                                       : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = path_rename(path, tmp.data, err);
    if (status == CLOZE_OK) status = dir_remove(tmp.data, err);
    buf_deinit(&tmp);
    return status;
}

static int by_step(const void *a, const void *b) {
    int64_t x = checkpoint_step(*(char *const *)a), y = checkpoint_step(*(char *const *)b);
    return (x > y) - (x < y);
}

/* Removes the oldest of names[0..n), which are sorted, until `limit` are left. */
static cloze_status remove_oldest(const char *dir, char *const *names, size_t n, size_t limit,
                                  const char *keep, cloze_error *err) {
    if (keep && n && limit == 1 && strcmp(names[n - 1], keep) != 0) limit = 2;
    for (size_t i = 0, left = n; i < n && left > limit; i++) {
        if (keep && strcmp(names[i], keep) == 0) continue;
        char *path = path_join(dir, names[i]);
        cloze_status status =
            path ? checkpoint_remove(path, err) : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
        mem_free(path);
        if (status != CLOZE_OK) return status;
        left--;
    }
    return CLOZE_OK;
}

cloze_status checkpoint_prune(const char *output_dir, int64_t limit, int64_t newest,
                              const char *keep, cloze_error *err) {
    char **names;
    size_t n, ours = 0;
    CLOZE_TRY(dir_list(output_dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        int64_t step = checkpoint_step(names[i]);
        if (step < 0 || step > newest) continue; /* beyond: of another run in this directory */
        char *swap = names[ours];
        names[ours++] = names[i];
        names[i] = swap;
    }
    qsort(names, ours, sizeof *names, by_step);
    cloze_status status =
        remove_oldest(output_dir, names, ours, (size_t)limit, keep ? path_base(keep) : NULL, err);
    dir_list_free(names, n);
    return status;
}
