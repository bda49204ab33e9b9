/* The output directory of a run: lock, earlier runs, left-overs. */
#include "train/output_dir.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "train/checkpoint.h"

#define LOCK_FILE "cloze.lock"

/* ---- one run at a time ---- */

cloze_status output_dir_open_existing(output_dir *d, const char *path, cloze_error *err) {
    char holder[128];
    bool held = false;
    if (d->path || !file_is_dir(path)) return CLOZE_OK;
    char *file = path_join(path, LOCK_FILE);
    cloze_status status = file ? file_lock_take(&d->lock, file, &held, holder, sizeof holder, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    mem_free(file);
    CLOZE_TRY(status);
    if (!held)
        CLOZE_FAIL(err, IO,
                   "%s is in use by %s; wait until that run has ended, or give another "
                   "--output_dir",
                   path, holder);
    d->path = path;
    return CLOZE_OK;
}

cloze_status output_dir_open(output_dir *d, const char *path, cloze_error *err) {
    if (d->path) return CLOZE_OK;
    bool created = !file_exists(path);
    CLOZE_TRY(dir_create(path, err));
    d->created = created;
    return output_dir_open_existing(d, path, err);
}

void output_dir_close(output_dir *d) {
    file_lock_release(&d->lock);
    if (d->path && d->created) rmdir(d->path); /* fails, and should, when there is anything in it */
    d->path = NULL;
    d->created = false;
}

/* ---- earlier runs ---- */

/* The step of the checkpoint that is gone on from, -1 when it is not one of this directory. */
static int64_t resumed_step(const char *dir, const char *resume) {
    return resume && checkpoint_is_within(resume, dir) ? checkpoint_step(resume) : -1;
}

cloze_status output_dir_check(const options *o, const char *resume, cloze_error *err) {
    char *newest;
    if (o->overwrite_output_dir) return CLOZE_OK;
    CLOZE_TRY(checkpoint_find_newest(o->output_dir, &newest, err));
    if (!newest) return CLOZE_OK;
    cloze_status status = CLOZE_OK;
    int64_t step = resumed_step(o->output_dir, resume);
    if (step < 0)
        status = error_set(err, CLOZE_ERR_USAGE,
                           "%s holds the checkpoints of an earlier run; --resume_from_checkpoint "
                           "last goes on with it, --overwrite_output_dir removes it, or give "
                           "another --output_dir",
                           o->output_dir);
    else if (checkpoint_step(newest) > step)
        status = error_set(err, CLOZE_ERR_USAGE,
                           "%s is newer than %s; --overwrite_output_dir removes what is newer, or "
                           "go on from the last, or give another --output_dir",
                           newest, resume);
    mem_free(newest);
    return status;
}

static const char *const RESULT_FILES[] = {
    "all_results.json",  "train_results.json", "eval_results.json",     "test_results.json",
    "predictions.jsonl", "predictions.txt",    "pretrain_results.json",
};
/* A directory without them opens as no model. */
static const char *const MODEL_FILES[] = {
    "classifier.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "prompt.safetensors",
    "trainer_state.json",
    "training_args.json",
    "template_config.json",
    "runs",
};

static cloze_status remove_files(const char *dir, const char *const names[], size_t n,
                                 cloze_error *err) {
    for (size_t i = 0; i < n; i++) {
        char *path = path_join(dir, names[i]);
        cloze_status status =
            path ? dir_remove(path, err) : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
        mem_free(path);
        if (status != CLOZE_OK) return status;
    }
    return CLOZE_OK;
}

cloze_status output_dir_forget_results(const char *path, cloze_error *err) {
    return remove_files(path, RESULT_FILES, sizeof RESULT_FILES / sizeof *RESULT_FILES, err);
}

/* "x.tmp" of a writer that was killed: checkpoint-N.tmp, and FILE.PID-NUMBER.tmp. */
static bool is_left_over(const char *name) {
    size_t n = strlen(name), digits = 0;
    if (n < 5 || strcmp(name + n - 4, ".tmp") != 0) return false;
    if (strncmp(name, "checkpoint-", 11) == 0) return strspn(name + 11, "0123456789") > 0;
    for (const char *p = name + n - 5; p > name && strchr("0123456789-", *p); p--) digits++;
    const char *tail = name + n - 4 - digits; /* PID-NUMBER */
    return digits >= 3 && tail > name && tail[-1] == '.' && strchr("0123456789", tail[0]) &&
           memchr(tail, '-', digits) != NULL;
}

/* keep: step of the checkpoint that is gone on from; checkpoints above it go when `newer`. */
static cloze_status sweep(const char *dir, bool newer, int64_t keep, cloze_error *err) {
    char **names;
    size_t n;
    CLOZE_TRY(dir_list(dir, &names, &n, err));
    cloze_status status = CLOZE_OK;
    for (size_t i = 0; i < n && status == CLOZE_OK; i++) {
        bool checkpoint = newer && checkpoint_step(names[i]) > keep; /* -1: no checkpoint */
        if (!checkpoint && !is_left_over(names[i])) continue;
        char *path = path_join(dir, names[i]);
        status = !path        ? error_set(err, CLOZE_ERR_MEMORY, "out of memory")
                 : checkpoint ? checkpoint_remove(path, err)
                              : dir_remove(path, err);
        mem_free(path);
    }
    dir_list_free(names, n);
    return status;
}

cloze_status output_dir_begin(const options *o, const char *resume, cloze_error *err) {
    int64_t step = resumed_step(o->output_dir, resume);
    if (o->overwrite_output_dir && step < 0) {
        CLOZE_TRY(output_dir_forget_results(o->output_dir, err));
        CLOZE_TRY(remove_files(o->output_dir, MODEL_FILES, sizeof MODEL_FILES / sizeof *MODEL_FILES,
                               err));
    }
    return sweep(o->output_dir, o->overwrite_output_dir, step, err);
}
